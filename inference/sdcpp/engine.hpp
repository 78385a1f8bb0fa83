// Internals shared by the C++ files of this package.
#ifndef SDW_ENGINE_HPP
#define SDW_ENGINE_HPP

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "ggml-backend.h"
#include "ggml-cpu.h"

#include "model/diffusion/control.hpp"
#include "model/diffusion/unet.hpp"
#include "model/te/clip.hpp"
#include "model/vae/auto_encoder_kl.hpp"
#include "model_loader.h"
#include "model_manager.h"

#include "contexts.hpp"
#include "failure.hpp"
#include "profile.hpp"
#include "shim.h"

namespace sdw {

// Device is a ggml backend with what a graph run needs.
struct Device {
    ggml_backend_t backend = nullptr;
    int threads            = 1;
    bool cpu               = true;
    bool fused             = false;  // attention runs as one fused kernel
    bool gpu_graphs        = false;  // graphs are built for a GPU's kernels, not for ours
    std::atomic<bool> cancel{false};
    int copies_in = 0, copies_out = 0;  // between host and device, for calls
    std::unique_ptr<Profile> profile;  // of the runs from now on; none unless it is asked for

    Device()              = default;
    Device(const Device&) = delete;
    ~Device() {
        if (backend != nullptr) {
            ggml_backend_free(backend);
        }
    }

    // copy_in fills a tensor, if the graph that it was made for uses it.
    void copy_in(ggml_tensor* t, const void* data) {
        if (t->buffer != nullptr) {
            ggml_backend_tensor_set(t, data, 0, ggml_nbytes(t));
            copies_in++;
        }
    }

    void copy_out(const ggml_tensor* t, void* data) {
        ggml_backend_tensor_get(t, data, 0, ggml_nbytes(t));
        copies_out++;
    }

    // compute runs a graph. Vulkan throws when it finds no memory on the way: what it
    // has begun is ended then, so that the next graph begins anew.
    ggml_status compute(ggml_cgraph* graph) {
        try {
            return profile ? profile->compute(backend, graph) : ggml_backend_graph_compute(backend, graph);
        } catch (...) {
            ggml_backend_synchronize(backend);
            throw;
        }
    }

    // run computes a graph of what until its end, or fails: canceled, out of memory, broken.
    void run(ggml_cgraph* graph, const char* what) {
        if (cpu) {
            ggml_backend_cpu_set_n_threads(backend, threads);
            ggml_backend_cpu_set_abort_callback(
                backend, [](void* flag) { return static_cast<std::atomic<bool>*>(flag)->load(); }, &cancel);
        }
        switch (const ggml_status status = compute(graph); status) {
            case GGML_STATUS_SUCCESS:
                return;
            case GGML_STATUS_ABORTED:
                fail(SDW_CANCELED, "canceled");
            case GGML_STATUS_ALLOC_FAILED:
                fail(SDW_OOM, "not enough memory on %s for the %s at this size", ggml_backend_name(backend), what);
            default:
                fail(SDW_BROKEN, "%s: %s", what, ggml_status_to_string(status));
        }
    }
};

// fuse folds bias, sums, affine maps and SiLU of a graph without memory into the
// convolutions and group norms before them, which the CPU's kernels take along.
// contexts, unless null, keep what the graph makes of its texts.
void fuse(ggml_cgraph* graph, const std::vector<ggml_tensor*>& outputs, Contexts* contexts = nullptr);

// suit_gpu changes a graph without memory so that CUDA's best kernels take its
// attention and convolutions. New tensors come from context.
void suit_gpu(ggml_context* context, ggml_cgraph* graph, const std::vector<ggml_tensor*>& outputs);

// check_graph fails if a device cannot compute an operation of a graph without memory.
// ggml itself does not ask before it computes one.
void check_graph(ggml_backend_t backend, ggml_cgraph* graph, const char* what);

// reads tells whether an operation of a graph has a tensor as its source.
bool reads(ggml_cgraph* graph, const ggml_tensor* tensor);

// Graph is a runner of the engine that keeps the graph of the last shape with its
// buffer, so that a call of the same shape only copies its inputs in, computes
// and copies the result out.
template <class Runner>
struct Graph : Runner {
    using Runner::Runner;

    std::vector<int64_t> shape;
    ggml_cgraph* graph  = nullptr;
    ggml_tensor* upload = nullptr;  // what all inputs are parts of, on a device with memory of its own
    std::vector<ggml_tensor*> inputs;
    std::vector<ggml_tensor*> outputs;
    std::vector<std::pair<ggml_tensor*, const void*>> constants;
    Contexts* contexts = nullptr;  // for the graphs of the runner; may be null

    // drop frees the graph and its buffer.
    void drop() {
        this->free_compute_buffer();
        this->free_compute_ctx();
        this->free_cache_ctx_and_buffer();
        graph  = nullptr;
        upload = nullptr;
        shape.clear();
        inputs.clear();
        outputs.clear();
        constants.clear();
    }

    // reserved is what the graph holds of the device's memory, in bytes.
    size_t reserved() { return graph == nullptr ? 0 : ggml_gallocr_get_buffer_size(this->compute_allocr, 0); }

    // input adds a float input of the given shape, fastest axis first, while a graph is built.
    ggml_tensor* input(int64_t ne0, int64_t ne1 = 1, int64_t ne2 = 1, int64_t ne3 = 1, ggml_type type = GGML_TYPE_F32) {
        ggml_tensor* t = ggml_new_tensor_4d(this->compute_ctx, type, ne0, ne1, ne2, ne3);
        if (upload != nullptr) {
            add_to_upload(t);
        } else {
            ggml_set_input(t);
        }
        inputs.push_back(t);
        return t;
    }

    // prepare makes the graph for a shape: build adds inputs and returns the outputs.
    template <class Build>
    void prepare(Device& device, std::vector<int64_t> want, size_t nodes, Build build) {
        if (graph != nullptr && shape == want) {
            return;
        }
        drop();
        this->set_conv2d_direct_enabled(true);
        this->reset_compute_ctx();
        graph = this->get_compute_graph([&]() -> ggml_cgraph* {
            ggml_cgraph* gf = this->new_graph_custom(nodes);
            if (device.gpu_graphs) {
                begin_upload();
            }
            outputs = build();
            for (ggml_tensor* out : outputs) {
                ggml_set_output(out);
                ggml_build_forward_expand(gf, out);
            }
            if (device.gpu_graphs) {
                suit_gpu(this->compute_ctx, gf, outputs);
            } else {
                fuse(gf, outputs, contexts);
            }
            return gf;
        });
        check_graph(device.backend, graph, this->get_desc().c_str());
        std::vector<ggml_tensor*> used, prepared;
        if (!this->prepare_execute_graph_weights(graph, used, prepared, true)) {
            drop();
            fail(SDW_BROKEN, "%s: weights are not ready: %s", this->get_desc().c_str(), first_error().c_str());
        }
        this->kept_compute_param_tensor_set.insert(prepared.begin(), prepared.end());
        if (!this->alloc_compute_buffer(graph) || !ggml_gallocr_alloc_graph(this->compute_allocr, graph)) {
            drop();
            fail(SDW_OOM, "not enough memory on %s for the %s at this size", ggml_backend_name(device.backend), this->get_desc().c_str());
        }
        for (const auto& [tensor, data] : this->backend_tensor_data_map) {
            if (reads(graph, tensor)) { // the engine puts a one and a zero into every graph
                constants.emplace_back(tensor, data);
            }
        }
        shape = std::move(want);
    }

    // run computes the prepared graph. in[i] feeds inputs[i].
    void run(Device& device, const std::vector<const void*>& in) {
        for (const auto& [tensor, data] : constants) {
            device.copy_in(tensor, data);
        }
        if (upload != nullptr) {
            staged.resize(ggml_nbytes(upload));
            for (size_t i = 0; i < in.size(); i++) {
                std::memcpy(staged.data() + inputs[i]->view_offs, in[i], ggml_nbytes(inputs[i]));
            }
            device.copy_in(upload, staged.data());
        } else {
            for (size_t i = 0; i < in.size(); i++) {
                device.copy_in(inputs[i], in[i]);
            }
        }
        device.run(graph, this->get_desc().c_str());
    }

    void result(Device& device, size_t i, float* out) { device.copy_out(outputs[i], out); }

private:
    std::vector<char> staged;  // values of upload

    // begin_upload makes one tensor that the inputs become parts of, so that one copy
    // fills them all.
    void begin_upload() {
        upload        = ggml_new_tensor_1d(this->compute_ctx, GGML_TYPE_F32, 1);
        upload->ne[0] = 0;
        ggml_set_input(upload);
    }

    // add_to_upload makes a tensor without memory the next part of upload.
    void add_to_upload(ggml_tensor* t) {
        constexpr size_t alignment = 256;  // the most that a device may ask for
        t->op                      = GGML_OP_VIEW;
        t->src[0]                  = upload;
        t->view_src                = upload;
        t->view_offs               = ggml_nbytes(upload);
        const size_t bytes         = t->view_offs + (ggml_nbytes(t) + alignment - 1) / alignment * alignment;
        upload->ne[0]              = static_cast<int64_t>(bytes / sizeof(float));
        std::fill(std::begin(upload->nb) + 1, std::end(upload->nb), bytes);
    }
};

// Text is the CLIP text encoder with embedding vectors of the caller.
struct Text : Graph<CLIPTextModelRunner> {
    using Graph::Graph;
    void encode(Device& device, const sdw_text_input& in, float* out);
};

// Hypernets holds the layers of the hypernetworks that act in the UNet.
struct Hypernets {
    struct Layer {
        sdw_hyper_kind kind;
        ggml_tensor *weight, *bias;
    };
    struct Module {
        int dim, part;
        float strength;
        std::vector<Layer> layers;
    };
    std::vector<Module> modules;
    int64_t serial = 0;  // of this set, for keys of graphs

    Hypernets()                 = default;
    Hypernets(const Hypernets&) = delete;
    ~Hypernets() { clear(); }
    void clear();
    void set(Device& device, const sdw_hyper_module* list, int count, const sdw_hyper_layer* layers);

private:
    ggml_context* context        = nullptr;
    ggml_backend_buffer_t buffer = nullptr;
};

struct UNet : Graph<UNetModelRunner> {
    using Graph::Graph;
    Contexts texts;

    // edit changes a graph that has no memory yet, from its output, to what the input asks
    // for, its pictures show and the hypernetworks do. It adds inputs.
    void edit(ggml_tensor* out, const sdw_unet_input& in, const Hypernets& hypernets);

    // edit_values lists what the inputs of edit read.
    void edit_values(const sdw_unet_input& in, std::vector<const void*>& values) const;

private:
    std::vector<std::vector<float>> edit_constants;  // of the graph's inputs, but for those of the call
    int64_t image_channels = 0;                      // of the blocks that look at pictures, together
};

struct Autoencoder : Graph<AutoEncoderKL> {
    using Graph::Graph;
};

// Residual is one output of a ControlNet, fastest axis first.
struct Residual {
    int64_t ne[4];
    std::vector<float> values;
};

struct Control : Graph<ControlNet> {
    using Graph::Graph;

    // guide returns the features of a hint picture [3][8h][8w]. They are the same
    // for every step of a job, so the last few are kept.
    const std::vector<float>& guide(Device& device, const float* hint, int h, int w, bool tiling);

private:
    struct Hint {
        int h, w;
        bool tiling;
        std::vector<float> pixels, features;
    };
    std::list<Hint> hints;
};

// Module is a runner with weights of its own: a file beside the checkpoint. The
// weights are declared last, since they must go before the tensors they fill.
template <class Runner>
struct Module {
    std::unique_ptr<Runner> runner;
    std::shared_ptr<ModelManager> weights = std::make_shared<ModelManager>();
};

// Preview is a loaded TAESD decoder. It is defined in networks.cpp, since its header
// of the engine has functions that a program may contain once only.
struct Preview;

// Reading says how the weights of a file are read.
struct Reading {
    const char* what;    // for messages
    std::string prefix;  // before the names of the file's tensors
    bool mapped;         // a CPU may use values where they lie in the file
    bool half;           // wide matrices become f16
};

// read_header gives the loader of weights the tensors of a file, which load_weights
// reads then, and returns them by name.
const String2TensorStorage& read_header(ModelManager& weights, const Device& device, const sdw_file& file, const Reading& how);

// load_weights registers the tensors of a runner and reads them onto the device.
size_t load_weights(ModelManager& weights, Device& device, const char* what, std::map<std::string, ggml_tensor*> tensors);

// load_module reads a file of one network. make returns the runner for the tensors
// that the file has, and checks them if it must.
template <class M, class Make>
std::unique_ptr<M> load_module(Device& device, const sdw_file& file, const Reading& how, Make make) {
    auto module    = std::make_unique<M>();
    module->runner = make(read_header(*module->weights, device, file, how), module->weights);
    std::map<std::string, ggml_tensor*> tensors;
    module->runner->get_param_tensors(tensors);
    load_weights(*module->weights, device, how.what, std::move(tensors));
    return module;
}

// read_tensors gives an empty loader the tensors of a file, with a prefix before
// their names, and returns whether the file can be mapped: its values lie as their
// types demand.
bool read_tensors(ModelLoader& loader, const sdw_file& file, const std::string& prefix = "");

// copy_tensors gives an empty loader the tensors of another one, of one file.
void copy_tensors(ModelLoader& loader, const ModelLoader& from, const std::string& file);

// LoRAs knows the weights that adapters can change and where they come from.
struct LoRAs {
    struct Weight {
        std::string name;
        ggml_tensor* tensor;
        const TensorStorage* storage;  // of originals, nullptr if the checkpoint has none
    };
    std::vector<Weight> weights;

    // list fills weights at the first call; source knows where the checkpoint has them.
    void list(const std::string& checkpoint, const ModelLoader& source, const std::map<std::string, ggml_tensor*>& model);

    // restore reads weights again from the checkpoint.
    void restore(Device& device, const int32_t* which, int n);

private:
    std::unique_ptr<ModelLoader> originals;
};

}  // namespace sdw

struct sdw_engine {
    std::string checkpoint;
    SDVersion version    = VERSION_COUNT;
    int64_t weight_bytes = 0;

    // Freed from the last to the first: weights let go of the runners' tensors, and
    // both need the device.
    sdw::Device device;
    std::unique_ptr<sdw::Text> text;
    std::unique_ptr<sdw::UNet> unet;
    std::unique_ptr<sdw::Autoencoder> vae;  // none in a checkpoint without one
    std::map<std::string, ggml_tensor*> tensors;  // of text and unet, by name
    std::unique_ptr<sdw::Module<sdw::Autoencoder>> other_vae;
    std::unique_ptr<sdw::Module<sdw::Control>> controls[SDW_CONTROLS];
    std::shared_ptr<sdw::Preview> preview;
    sdw::Hypernets hypernets;
    std::vector<sdw::Residual> residuals;  // what sdw_control keeps for sdw_unet
    sdw::LoRAs loras;
    std::shared_ptr<ModelManager> weights = std::make_shared<ModelManager>();

    sdw::Autoencoder& autoencoder() {
        if (!other_vae && !vae) {
            sdw::fail(SDW_INVALID, "%s has no VAE of its own and none is chosen", checkpoint.c_str());
        }
        return other_vae ? *other_vae->runner : *vae;
    }
};

#endif
