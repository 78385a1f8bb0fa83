// The C face of the engine: opaque handles, flat arguments, a status, and an
// error text in a buffer of the caller. No C++ exception leaves it. Shapes and
// lengths are the caller's duty (the Go side checks them all).
#ifndef SDW_SHIM_H
#define SDW_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef SDW_CUDA
#include "stamp_cuda.h"
#elif defined(SDW_VULKAN)
#include "stamp_vulkan.h"
#else
#include "stamp_cpu.h"
#endif

// SDW_ABI changes with this header; the Go side names the one it was written for.
#define SDW_ABI 11

// Sizes of Stable Diffusion 1.x, which the Go side compares with its own.
#define SDW_TEXT_WIDTH 768
#define SDW_CHUNK_TOKENS 77
#define SDW_VOCABULARY 49408

// SDW_ABORT_PREFIX begins the line on stderr that says why the engine ends the process.
#define SDW_ABORT_PREFIX "engine aborted: "

// SDW_CONTROLS is how many ControlNets can be loaded.
#define SDW_CONTROLS 10

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sdw_engine sdw_engine;

typedef enum {
    SDW_OK = 0,
    SDW_INVALID,  // the file or argument is wrong
    SDW_OOM,      // no memory for this size
    SDW_CANCELED, // sdw_cancel was called
    SDW_BROKEN,   // anything else
} sdw_status;

// sdw_tensor is a tensor that the engine reads of a file, which the Go side has
// found and checked.
typedef struct {
    const char* name; // the engine's, without the network's prefix in files of one network
    const char* type; // the file format's name for it, such as F16, F8_E4M3, Q8_0
    int64_t ne[4];    // fastest axis first
    int rank;
    uint64_t offset; // of the first value in the file
} sdw_tensor;

// sdw_file is a model file.
typedef struct {
    const char* path;
    sdw_tensor* tensors;
    int count;
    char* texts; // where names and types of the tensors are
} sdw_file;

// sdw_attention_kind says whether attention runs as one fused kernel, which is faster on
// a GPU and slower on a CPU.
typedef enum {
    SDW_ATTENTION_AUTO = 0, // as the device has it faster
    SDW_ATTENTION_FUSED,
    SDW_ATTENTION_PLAIN,
} sdw_attention_kind;

// sdw_options says how a checkpoint is opened.
typedef struct {
    int device;  // of sdw_find_device
    int threads; // of the CPU
    sdw_attention_kind attention;
    int gpu_graphs;     // a CPU computes the graphs that a GPU gets
    uintptr_t progress; // handed to sdwProgress while weights load
} sdw_options;

// sdw_device_kind is what a device is.
typedef enum {
    SDW_HOST = 0, // the CPU
    SDW_GPU,
    SDW_SOFTWARE, // a GPU that the CPU plays, such as Mesa's lavapipe
} sdw_device_kind;

// sdw_info describes an open engine.
typedef struct {
    int32_t unet_channels;
    int32_t has_vae;
    int64_t weight_bytes;
    uint64_t device_bytes;
    sdw_device_kind kind;
    int32_t host_memory; // the device's memory is that of the machine: a CPU, or a GPU beside it on the chip
    int32_t fused;       // attention runs as one fused kernel
    char device[192];
} sdw_info;

// sdw_device is something that an engine can run on.
typedef struct {
    char name[64], description[160];
    uint64_t free_bytes, total_bytes;
    sdw_device_kind kind;
} sdw_device;

// sdw_text_input is n_chunks chunks of token ids.
typedef struct {
    int n_chunks, n_vectors;
    int skip;             // layers from the end, 1 is the last layer
    const int32_t* ids;   // [n_chunks][77]; id 49408+i stands for vectors[i]
    const float* vectors; // [n_vectors][768]
} sdw_text_input;

// sdw_freeu_stage is what FreeU does where a part of the decoder meets its skip connection.
typedef struct {
    float backbone;   // factor of the channels in the window
    double from, to;  // of the window, parts of all channels
    int inverted;     // the window is what is left out
    int closed;       // the channel at its end is in it
    float low, high;  // factors of the frequencies of the skip connection
    double cutoff;    // part of all frequencies that are low; 0 = the lowest alone
} sdw_freeu_stage;

// sdw_unet_input is one batch of rows of h x w latent cells.
typedef struct {
    int rows, channels, h, w;
    int tokens; // of each row's context
    int tiling; // pictures go on at their opposite border
    const float* latent;   // [rows][channels][h][w]
    const float* timestep; // [rows]
    const float* context;  // [rows][tokens][768]
    const float* perturbed; // [rows] 1 = the middle's self-attention passes on its values; NULL for none
    int freeu;              // version of FreeU, 0 for none
    sdw_freeu_stage freeu_stages[3]; // where the backbone has 4, 2 and 1 times the model's channels

    // Pictures that cross attention sees beside the text.
    int images;
    const int* image_tokens;    // [images]
    const float* image_values;  // of each one after the other: for each layer, as edits.cpp orders them, keys [rows][tokens][channels], then values
    const float* image_regions; // maps as those of sdw_control_unit, of each picture; NULL = everywhere
} sdw_unet_input;

// sdw_hyper_kind is what one layer of a hypernetwork does.
typedef enum {
    SDW_HYPER_LINEAR = 0, // weight[out][in], bias[out]
    SDW_HYPER_NORM,       // layer norm: weight[in], bias[in]
    SDW_HYPER_RELU,
    SDW_HYPER_LEAKY_RELU,
    SDW_HYPER_ELU,
    SDW_HYPER_HARD_SWISH,
    SDW_HYPER_TANH,
    SDW_HYPER_SIGMOID,
    SDW_HYPER_SILU,
    SDW_HYPER_GELU,
    SDW_HYPER_SOFTSIGN,
} sdw_hyper_kind;

// sdw_hyper_layer is one layer of a hypernetwork's module.
typedef struct {
    sdw_hyper_kind kind;
    int in, out;
    const float *weight, *bias; // NULL for activations
} sdw_hyper_layer;

// sdw_hyper_module changes what the keys (part 0) or values (part 1) of attention over a
// context of size dim are made of: x + strength * layers(x).
typedef struct {
    int dim, part;
    float strength;
    int first, count; // of its layers
} sdw_hyper_module;

// sdw_control_unit is a ControlNet that acts on a UNet call.
typedef struct {
    int slot;            // that it was loaded into
    const float* hint;   // [3][8h][8w]
    const float* rows;   // [rows] strength for each row of the batch
    const float* layers; // [13] strength for each residual
    const float* region; // maps one after the other for latents of 1, 1/2, 1/4 and 1/8 of the sides, rounded up; NULL = everywhere
} sdw_control_unit;

typedef struct {
    char name[160];
    int64_t ne[4]; // sides, the fastest first
    int32_t dims;
    int32_t type;
    int32_t stored; // type in the checkpoint; SDW_OTHER if it does not lie there as it is
    uint64_t offset; // of the first value in the checkpoint, unless stored is SDW_OTHER
} sdw_weight;

// sdw_init installs the process-wide log sink and the abort message.
void sdw_init(void);

// sdw_explain_bus_errors ends the process with a sentence on stderr where a mapped
// model file is cut short.
void sdw_explain_bus_errors(void);

// sdw_find_device returns the number of a device: of "auto", "cpu", "gpu" (the first
// one), a device's name such as "cuda0", or a kind such as "cuda" (the first of it).
// It returns -1 and a text when there is none.
int sdw_find_device(const char* name, char* err, int cap);

// sdw_describe_device describes device i and returns 0 when there is no such device.
int sdw_describe_device(int i, sdw_device* out);

// sdw_open loads a checkpoint onto a device. Without a VAE in it, sdw_encode and
// sdw_decode need one of sdw_set_vae.
sdw_status sdw_open(const sdw_file* checkpoint, sdw_options options, sdw_engine** out, char* err, int cap);

// sdw_close frees the engine, NULL included. No call may be in progress.
void sdw_close(sdw_engine* e);

void sdw_describe(const sdw_engine* e, sdw_info* out);

// sdw_arm forgets an earlier sdw_cancel. sdw_cancel asks the call in progress,
// or the next one, to stop; any thread may call it.
void sdw_arm(sdw_engine* e);
void sdw_cancel(sdw_engine* e);

// out[n_chunks][77][768].
sdw_status sdw_text(sdw_engine* e, sdw_text_input in, float* out, char* err, int cap);

// sdw_load_control reads a ControlNet file into slot 0..SDW_CONTROLS-1, which is
// empty after a failure.
sdw_status sdw_load_control(sdw_engine* e, int slot, const sdw_file* file, char* err, int cap);

// sdw_control runs a ControlNet on the input of a UNet call and keeps its residuals,
// times the unit's strengths, for the next sdw_unet. They are added to those kept
// already unless first is set.
sdw_status sdw_control(sdw_engine* e, sdw_unet_input in, sdw_control_unit unit, int first, char* err, int cap);

// sdw_unet runs the UNet, with the residuals kept if control is set. out[rows][4][h][w].
sdw_status sdw_unet(sdw_engine* e, sdw_unet_input in, int control, float* out, char* err, int cap);

// sdw_set_hypernets replaces the hypernetworks that act in the UNet; of none they all
// end. Modules of the same dim and part act one after the other.
sdw_status sdw_set_hypernets(sdw_engine* e, const sdw_hyper_module* modules, int count, const sdw_hyper_layer* layers, int n_layers,
                             char* err, int cap);

// pixels[3][h][w] in 0..1, out[8][h/8][w/8].
sdw_status sdw_encode(sdw_engine* e, const float* pixels, int h, int w, int tiling, float* out, char* err, int cap);

// latent[4][h][w], out[3][8h][8w] in 0..1.
sdw_status sdw_decode(sdw_engine* e, const float* latent, int h, int w, int tiling, float* out, char* err, int cap);

// sdw_set_vae reads a VAE file and replaces the VAE by it; NULL restores the
// checkpoint's own. After a failure the one before is active.
sdw_status sdw_set_vae(sdw_engine* e, const sdw_file* file, char* err, int cap);

// sdw_list_weights counts the weights that adapters can change; sdw_weight_info
// describes one. The types are those of merge.h.
sdw_status sdw_list_weights(sdw_engine* e, int* n, char* err, int cap);
void sdw_weight_info(const sdw_engine* e, int i, sdw_weight* out);

// sdw_restore_weights reads weights again from the checkpoint, bit by bit as they
// were.
sdw_status sdw_restore_weights(sdw_engine* e, const int32_t* which, int n, char* err, int cap);

// sdw_read_weight copies a part of a weight as it lies on the device.
// sdw_write_weight stores n values, beginning with the one numbered first, in the
// weight's type, F16 or F32, and tells whether all are numbers no further from 0 than
// most; scratch has room for them. Several threads may call these, for different parts.
void sdw_read_weight(const sdw_engine* e, int i, void* values, size_t offset, size_t bytes);
bool sdw_write_weight(const sdw_engine* e, int i, const float* values, int64_t first, int64_t n, float most, void* scratch);

// sdw_load_preview reads a TAESD file; sdw_preview decodes latent[4][h][w] with the
// one read last, out as sdw_decode's.
sdw_status sdw_load_preview(sdw_engine* e, const sdw_file* file, char* err, int cap);
sdw_status sdw_preview(sdw_engine* e, const float* latent, int h, int w, float* out, char* err, int cap);

// sdw_weights_hash digests every weight as it lies on the device.
uint64_t sdw_weights_hash(sdw_engine* e);

// sdw_operation is what the operations of one kind and shape took.
typedef struct {
    char kind[64], shape[128];
    double seconds, cpu_seconds, flops; // cpu_seconds of all threads together
    int32_t calls;
} sdw_operation;

// sdw_profile begins a profile, during which calls run one operation after the other,
// or ends it. sdw_profiled copies its operation i and returns 0 when there is none.
void sdw_profile(sdw_engine* e, int on);
int sdw_profiled(const sdw_engine* e, int i, sdw_operation* out);

// sdw_peak measures the f32 operations a second of the CPU's threads, 0 on other devices and
// where it has no threads.
double sdw_peak(const sdw_engine* e);

// Networks whose graphs hold memory from one call to the next.
enum {
    SDW_GRAPH_TEXT    = 1,
    SDW_GRAPH_UNET    = 2,
    SDW_GRAPH_CONTROL = 4,
    SDW_GRAPH_VAE     = 8,
    SDW_GRAPH_PREVIEW = 16,
};

// sdw_held is what the graphs of some networks hold, in bytes. graphs is a sum of
// SDW_GRAPH values.
uint64_t sdw_held(sdw_engine* e, int graphs);

// sdw_rest frees the graphs of some networks, which the next call makes again.
void sdw_rest(sdw_engine* e, int graphs);

// sdw_drop_control frees a ControlNet.
void sdw_drop_control(sdw_engine* e, int slot);

// sdw_copies counts the copies between host and device that calls have made.
void sdw_copies(const sdw_engine* e, int* in, int* out);

// sdw_live counts open engines; sdw_heap is what malloc has given out, in bytes.
int sdw_live(void);
uint64_t sdw_heap(void);

// Facts about build and machine.
const char* sdw_key(void);
const char* sdw_pin(void);
const char* sdw_ggml_version(void);
const char* sdw_cpu_features(void);
int sdw_physical_cores(void);

#ifdef __cplusplus
}
#endif

#endif
