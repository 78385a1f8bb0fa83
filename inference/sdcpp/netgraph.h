// Small convolutional networks that the Go side describes as a list of layers.
#ifndef SDW_NETGRAPH_H
#define SDW_NETGRAPH_H

#include "shim.h"

#ifdef __cplusplus
extern "C" {
#endif

// Operations, numbered as package convnet does, which says what they compute.
enum {
    SDW_CONV,
    SDW_SILU,
    SDW_LEAKY_RELU,
    SDW_PRELU,
    SDW_SIGMOID,
    SDW_ADD,
    SDW_MUL,
    SDW_AFFINE,
    SDW_CONCAT,
    SDW_SLICE,
    SDW_ENLARGE,
    SDW_MAX_POOL,
    SDW_SHUFFLE,
    SDW_UNSHUFFLE,
};

// sdw_node is a layer. a and b number what it reads: 0 is the picture, n the result of
// node n-1; weight and bias number the arrays, -1 for none.
typedef struct {
    int32_t op, a, b, weight, bias, stride, pad, first, factor, channels;
    float scale, shift;
} sdw_node;

typedef struct sdw_net sdw_net;

// sdw_net_open makes a network on the engine's device. values holds the arrays one
// after the other, shapes four sides of each, the slowest first.
sdw_status sdw_net_open(sdw_engine* e, int channels, const sdw_node* nodes, int n_nodes, const float* values, const int32_t* shapes,
                        int n_weights, const int32_t* outputs, int n_outputs, sdw_net** out, char* err, int cap);

// sdw_net_run computes the outputs for pixels[channels][h][w] and writes them one after
// the other. The graph of the last size is kept until sdw_net_rest.
sdw_status sdw_net_run(sdw_engine* e, sdw_net* net, const float* pixels, int h, int w, float* out, char* err, int cap);
void sdw_net_rest(sdw_net* net);

// sdw_net_close frees a network, NULL included, before its engine.
void sdw_net_close(sdw_net* net);

#ifdef __cplusplus
}
#endif

#endif
