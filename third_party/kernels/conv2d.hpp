/* 2-D convolutions. All methods have one shape: P independent matrix products
 *
 *   M[p][k][t] = sum over r of U[p][k][r] * V[p][r][t]
 *
 * of transformed weights U and inputs V, for output channels k and places t.
 * Winograd has P = 36 or 16, r counts channels and t tiles; the plain method has
 * P = 1, r counts channels times kernel cells and t output pixels. What is saved
 * by Winograd is that a tile of 4x4 outputs takes 36 products instead of 144.
 *
 * Places are taken in blocks, so that V stays small. For each block all threads
 * write V together; then each takes a part of the output channels, transforms
 * its weights piece by piece (they are never stored as a whole), multiplies, and
 * transforms M back into dst. */

enum { depth_limit = 512 };       /* r at a time */
enum { input_bytes = 24 << 20 };  /* of V */

struct plan {
    const sdw_conv2d* conv;
    int tile;         /* outputs of a tile along a side; 1 for the plain method */
    int products;     /* P */
    int64_t depth;    /* length of r */
    int64_t tiles_x, tiles_y, places;
    int64_t block;    /* places in a block */
    int64_t rows;     /* output channels at a time */
    int64_t depth_block; /* r at a time */
    /* V is [panel of NR places][r / VL][product][r % VL][NR]: what is written at a
     * time lies together, and so does what a product reads for VL elements. */
    int64_t v_step;   /* floats between blocks of VL elements in V */
    int64_t v_panel;  /* floats between panels in V */
    int64_t u_floats, m_floats;
    int64_t m_stride; /* floats between products in M */
    int split_k, split_t; /* threads along output channels and places */
};

/* How many rows and how much depth are taken at a time. With many places weights
 * are written to memory and one product after the other has its part of them in
 * the second-level cache; with few, the weights of all products stay there. */
static void choose_blocks(plan& p) {
    const int64_t share = div_up(p.conv->oc, p.split_k);
    if (p.block >= 256 || p.products == 1) {
        p.depth_block = least(p.depth, round_up(div_up(p.depth, div_up(p.depth, depth_limit)), VL));
        p.rows = p.products == 1 && p.block <= 2 * NR ? MR : VL == 16 ? 320
                                                                      : 96;
    } else {
        p.rows = VL == 16 ? 2 * MR : 6 * MR;
        p.depth_block = VL == 16 && p.block > 2 * NR ? 192 : 64;
    }
    p.rows = least(p.rows, share);
    int64_t chunks = div_up(share, p.rows);
    p.rows = div_up(share, chunks);
}

static plan make_plan(const sdw_conv2d* conv, sdw_conv2d_method method, int nth) {
    plan p;
    p.conv = conv;
    p.tile = method == SDW_CONV2D_WINOGRAD4 ? 4 : method == SDW_CONV2D_WINOGRAD2 ? 2
                                                                                 : 1;
    p.products = p.tile == 1 ? 1 : (p.tile + 2) * (p.tile + 2);
    p.depth = p.tile == 1 ? conv->ic * conv->kh * conv->kw : conv->ic;
    p.tiles_x = div_up(conv->ow, p.tile);
    p.tiles_y = div_up(conv->oh, p.tile);
    p.places = conv->n * p.tiles_x * p.tiles_y;
    int64_t block = input_bytes / (4 * p.products * p.depth);
    block = most(NR, least(block, p.tile == 1 ? 1024 : 512) / NR * NR);
    int64_t blocks = div_up(p.places, block);
    p.block = round_up(div_up(p.places, blocks), NR);
    p.v_step = p.products * VL * NR;
    p.v_panel = round_up(p.depth, VL) / VL * p.v_step;
    /* A thread should have some output channels; more threads share them by places. */
    p.split_k = nth;
    while (p.split_k > 1 && (nth % p.split_k != 0 || conv->oc / p.split_k < MR / 2)) {
        p.split_k--;
    }
    p.split_t = nth / p.split_k;
    choose_blocks(p);
    p.m_stride = p.rows * p.block + 48;
    p.u_floats = p.products * round_up(p.rows * round_up(p.depth_block, VL) + 48, 16);
    p.m_floats = p.products * p.m_stride;
    return p;
}

static size_t conv2d_work(const sdw_conv2d* conv, sdw_conv2d_method method, int nth) {
    plan p = make_plan(conv, method, nth);
    return 4 * (p.block / NR * p.v_panel + nth * (p.u_floats + p.m_floats)) + 256;
}

/* Where place t, counted from the block's first, has its element r of product 0;
 * the next product's is VL * NR floats further. */
SDW_INLINE int64_t v_element(const plan& p, int64_t r) { return r / VL * p.v_step + r % VL * NR; }
SDW_INLINE float* v_place(const plan& p, float* v, int64_t t) { return v + t / NR * p.v_panel + t % NR; }

/* Where count neighbours from place t on have theirs: they may belong to two panels. */
struct v_places {
    float *first, *second;
    lanes in_first, in_second;
    bool whole;
    v_places(const plan& p, float* v, int64_t t, int64_t count) {
        const int64_t part = least(count, NR - t % NR);
        first = v_place(p, v, t);
        in_first = some_lanes(0, part);
        second = v_place(p, v, t + part) - part;
        in_second = some_lanes(part, count);
        whole = part == VL;
    }
    inline __attribute__((always_inline)) void put(int64_t at, vf x, int64_t next) const {
        __builtin_prefetch(first + at + next, 1);
        if (whole) {
            store(first + at, x);
        } else {
            store(first + at, x, in_first);
            store(second + at, x, in_second);
        }
    }
};

/* One dimension of the input's transform, in place. */
template <int tile>
SDW_INLINE void transform_input(vf& a, vf& b, vf& c, vf& d, vf& e, vf& f) {
    if (tile == 4) {
        vf s = d - 4 * b, t = e - 4 * c, u = d - b, w = e - c;
        a = 4 * a - 5 * c + e;
        f = 4 * b - 5 * d + f;
        b = t + s;
        c = t - s;
        d = w + 2 * u;
        e = w - 2 * u;
    } else {
        vf s = b, t = c;
        a = a - t;
        b = s + t;
        c = t - s;
        d = s - d;
    }
}

/* Tiles of 4: at most VL tiles of one row of them at a time, which are 4 * VL + 2
 * columns of 6 rows. inside tells that none of these is padding. */
template <bool inside>
static void write_tiles4(const plan& p, const float* image, int64_t x, int64_t y, const v_places& places, int64_t r0, int64_t r1) {
    const sdw_conv2d& conv = *p.conv;
    lanes columns[4];
    if (!inside) {
        for (int j = 0; j < 4; j++) {
            const int64_t lo = most(0, least(VL, -x - j * VL)), hi = most(lo, least(VL, conv.iw - x - j * VL));
            columns[j] = some_lanes(lo, hi);
        }
    }
    for (int64_t r = r0; r < r1; r++) {
        const float* line = image + r * conv.src_channel + y * conv.iw + x;
        vf d[6][6]; /* [column][row] */
        for (int i = 0; i < 6; i++, line += conv.iw) {
            /* Channels lie too far apart for the processor to guess the next. */
            for (int j = 0; j <= 4 * VL; j += 16) {
                __builtin_prefetch(line + 2 * conv.src_channel + j);
            }
            vf four[4] = {};
            float last[2] = {};
            if (inside) {
                split4(load(line), load(line + VL), load(line + 2 * VL), load(line + 3 * VL), four);
                last[0] = line[4 * VL];
                last[1] = line[4 * VL + 1];
            } else if (y + i >= 0 && y + i < conv.ih) {
                split4(load(line, columns[0]), load(line + VL, columns[1]), load(line + 2 * VL, columns[2]), load(line + 3 * VL, columns[3]), four);
                for (int j = 0; j < 2; j++) {
                    if (x + 4 * VL + j < conv.iw) {
                        last[j] = line[4 * VL + j];
                    }
                }
            }
            for (int j = 0; j < 4; j++) {
                d[j][i] = four[j];
            }
            d[4][i] = shift_in(four[0], last[0]);
            d[5][i] = shift_in(four[1], last[1]);
        }
        const int64_t at = v_element(p, r);
        for (int j = 0; j < 6; j++) {
            transform_input<4>(d[j][0], d[j][1], d[j][2], d[j][3], d[j][4], d[j][5]);
        }
        for (int i = 0; i < 6; i++) {
            transform_input<4>(d[0][i], d[1][i], d[2][i], d[3][i], d[4][i], d[5][i]);
            for (int j = 0; j < 6; j++) {
                places.put(at + (i * 6 + j) * VL * NR, d[j][i], p.v_step);
            }
        }
    }
}

static void write_input4(const plan& p, int64_t t0, int64_t t1, int64_t r0, int64_t r1, float* v) {
    const sdw_conv2d& conv = *p.conv;
    /* All tiles of a panel for some elements, before the next ones. */
    for (int64_t panel = t0; panel < t1; panel += NR) {
        for (int64_t s0 = r0, s1; s0 < r1; s0 = s1) {
            s1 = least(s0 / VL * VL + VL, r1);
            for (int64_t t = panel; t < least(panel + NR, t1);) {
                const int64_t tx = t % p.tiles_x, ty = t / p.tiles_x % p.tiles_y, n = t / (p.tiles_x * p.tiles_y);
                const int64_t count = least(least(VL, p.tiles_x - tx), least(panel + NR, t1) - t);
                const int64_t x = 4 * tx - conv.pad_x, y = 4 * ty - conv.pad_y;
                const v_places places(p, v, t - t0, count);
                const float* image = conv.src + n * conv.src_image;
                if (x >= 0 && y >= 0 && y + 6 <= conv.ih && x + 4 * VL + 2 <= conv.iw) {
                    write_tiles4<true>(p, image, x, y, places, s0, s1);
                } else {
                    write_tiles4<false>(p, image, x, y, places, s0, s1);
                }
                t += count;
            }
        }
    }
}

/* Tiles of 2, for small images: lanes are filled one by one. */
static void write_input2(const plan& p, int64_t t0, int64_t t1, int64_t r0, int64_t r1, float* v) {
    const sdw_conv2d& conv = *p.conv;
    for (int64_t t = t0; t < t1; t += VL) {
        int64_t count = least(VL, t1 - t);
        const v_places places(p, v, t - t0, count);
        for (int64_t r = r0; r < r1; r++) {
            vf d[4][4] = {};
            for (int64_t l = 0; l < count; l++) {
                int64_t tx = (t + l) % p.tiles_x, ty = (t + l) / p.tiles_x % p.tiles_y, n = (t + l) / (p.tiles_x * p.tiles_y);
                int64_t x = 2 * tx - conv.pad_x, y = 2 * ty - conv.pad_y;
                const float* image = conv.src + n * conv.src_image + r * conv.src_channel;
                for (int i = 0; i < 4; i++) {
                    for (int j = 0; j < 4; j++) {
                        if (y + i >= 0 && y + i < conv.ih && x + j >= 0 && x + j < conv.iw) {
                            d[i][j][l] = image[(y + i) * conv.iw + x + j];
                        }
                    }
                }
            }
            const int64_t at = v_element(p, r);
            vf none = {};
            for (int j = 0; j < 4; j++) {
                transform_input<2>(d[0][j], d[1][j], d[2][j], d[3][j], none, none);
            }
            for (int i = 0; i < 4; i++) {
                transform_input<2>(d[i][0], d[i][1], d[i][2], d[i][3], none, none);
                for (int j = 0; j < 4; j++) {
                    places.put(at + (i * 4 + j) * VL * NR, d[i][j], p.v_step);
                }
            }
        }
    }
}

/* The plain method for kernels of one cell, whole panels that lie in one image: r is
 * the channel. Some panels are written together, since what is read for one channel
 * lies together, and the channels far apart. Returns how many places are written. */
static int64_t write_panels(const plan& p, const float* image, int64_t t, int64_t count, int64_t r0, int64_t r1, float* v) {
    enum { together = 4 };
    const int64_t panels = least(count / NR, together), channel = p.conv->src_channel;
    for (int64_t r = r0; r < r1; r++) {
        const float* from = image + r * channel;
        float* to = v_place(p, v, t) + v_element(p, r);
        for (int64_t i = 0; i < panels; i++, from += NR, to += p.v_panel) {
            for (int64_t j = 0; j < NR; j += 16) {
                __builtin_prefetch(from + 4 * channel + j);
            }
            store(to, load(from));
            store(to + VL, load(from + VL));
        }
    }
    return panels * NR;
}

/* The plain method: r is (channel, kernel row, kernel column), t an output pixel. */
static void write_input1(const plan& p, int64_t t0, int64_t t1, int64_t r0, int64_t r1, float* v) {
    const sdw_conv2d& conv = *p.conv;
    const bool flat = conv.kh == 1 && conv.kw == 1 && conv.stride_x == 1 && conv.stride_y == 1 && conv.pad_x == 0 && conv.pad_y == 0;
    for (int64_t t = t0; t < t1;) {
        int64_t ox = t % conv.ow, oy = t / conv.ow % conv.oh, n = t / (conv.ow * conv.oh);
        /* As many pixels as lie in one output row and one panel; with a 1x1 kernel rows do not matter. */
        int64_t left = flat ? conv.ow * conv.oh - t % (conv.ow * conv.oh) : conv.ow - ox;
        if (flat && (t - t0) % NR == 0 && least(left, t1 - t) >= NR) {
            t += write_panels(p, conv.src + n * conv.src_image + t % (conv.ow * conv.oh), t - t0, least(left, t1 - t), r0, r1, v);
            continue;
        }
        int64_t count = least(least(left, NR - (t - t0) % NR), t1 - t);
        for (int64_t r = r0; r < r1; r++) {
            int64_t kx = r % conv.kw, ky = r / conv.kw % conv.kh, c = r / (conv.kw * conv.kh);
            int64_t y = oy * conv.stride_y + ky * conv.dilation_y - conv.pad_y;
            int64_t x = ox * conv.stride_x + kx * conv.dilation_x - conv.pad_x;
            float* to = v_place(p, v, t - t0) + v_element(p, r);
            if (y < 0 || y >= conv.ih) {
                for (int64_t i = 0; i < count; i++) {
                    to[i] = 0;
                }
                continue;
            }
            const float* from = conv.src + n * conv.src_image + c * conv.src_channel + y * conv.iw + x;
            if (flat || (conv.stride_x == 1 && x >= 0 && x + count <= conv.iw)) {
                if (count == NR) {
                    store(to, load(from));
                    store(to + VL, load(from + VL));
                } else {
                    for (int64_t i = 0; i < count; i++) {
                        to[i] = from[i];
                    }
                }
                continue;
            }
            for (int64_t i = 0; i < count; i++, x += conv.stride_x, from += conv.stride_x) {
                to[i] = x >= 0 && x < conv.iw ? *from : 0;
            }
        }
        t += count;
    }
}

/* One dimension of the weights' transform. */
template <int tile>
SDW_INLINE void transform_weights(vf a, vf b, vf c, vf* to, int step) {
    if (tile == 4) {
        vf s = (a + c) * (-1.0f / 6), t = b * (1.0f / 6);
        vf u = (a + 4 * c) * (1.0f / 24), w = b * (1.0f / 12);
        to[0] = a * 0.25f;
        to[step] = s - t;
        to[2 * step] = s + t;
        to[3 * step] = u + w;
        to[4 * step] = u - w;
        to[5 * step] = c;
    } else {
        vf s = (a + c) * 0.5f, t = b * 0.5f;
        to[0] = a;
        to[step] = s + t;
        to[2 * step] = s - t;
        to[3 * step] = c;
    }
}

/* Transforms VL elements of weights. */
template <int tile, typename T>
SDW_INLINE void write_elements(const T* from, float* u, int64_t u_stride) {
    if constexpr (tile == 1) {
        store(u, load_as_float(from));
    } else {
        enum { side = tile + 2 };
        vf cell[9], half[3][side]; /* [column][row] */
        columns9(from, cell);
        for (int j = 0; j < 3; j++) {
            transform_weights<tile>(cell[j], cell[3 + j], cell[6 + j], half[j], 1);
        }
        for (int i = 0; i < side; i++) {
            vf row[side];
            transform_weights<tile>(half[0][i], half[1][i], half[2][i], row, 1);
            for (int j = 0; j < side; j++) {
                store(u + (i * side + j) * u_stride, row[j]);
            }
        }
    }
}

template <int tile, typename T>
SDW_INLINE void write_weights(const T* from, const T* next_row, int64_t count, float* u, int64_t u_stride, int64_t m) {
    constexpr int64_t cells = tile == 1 ? 1 : 9;
    for (int64_t i = 0; i < count * cells; i += 64 / sizeof(T)) {
        __builtin_prefetch(next_row + i);
    }
    for (; count >= VL; count -= VL, u += m * VL, from += cells * VL) {
        write_elements<tile>(from, u, u_stride);
    }
    if (count > 0) {
        T part[cells * VL] = {};
        memcpy(part, from, (size_t)(count * cells) * sizeof(T));
        write_elements<tile>(part, u, u_stride);
    }
}

/* Transforms the weights of row k, elements r0 to r0 + count, into u: products are
 * u_stride apart, vectors of elements m * VL. */
template <int tile>
static void write_weights(const plan& p, int64_t k, int64_t r0, int64_t count, float* u, int64_t u_stride, int64_t m) {
    const int64_t cells = tile == 1 ? 1 : 9, begin = (k * p.depth + r0) * cells, next = begin + p.depth * cells;
    if (p.conv->weight_f16) {
        const uint16_t* weight = (const uint16_t*)p.conv->weight;
        write_weights<tile>(weight + begin, weight + next, count, u, u_stride, m);
    } else {
        const float* weight = (const float*)p.conv->weight;
        write_weights<tile>(weight + begin, weight + next, count, u, u_stride, m);
    }
}

/* One dimension of the result's transform. */
template <int tile>
SDW_INLINE void transform_result(const vf* from, int step, vf* to, int to_step) {
    if (tile == 4) {
        vf s = from[step] + from[2 * step], d = from[step] - from[2 * step];
        vf t = from[3 * step] + from[4 * step], e = from[3 * step] - from[4 * step];
        to[0] = from[0] + s + t;
        to[to_step] = d + 2 * e;
        to[2 * to_step] = s + 4 * t;
        to[3 * to_step] = d + 8 * e + from[5 * step];
    } else {
        to[0] = from[0] + from[step] + from[2 * step];
        to[to_step] = from[step] - from[2 * step] - from[3 * step];
    }
}

/* What is added to all of output channel k of image n. */
SDW_INLINE float constant(const sdw_conv2d& conv, int64_t n, int64_t k) {
    return (conv.bias ? conv.bias[k] : 0) + (conv.image_bias ? conv.image_bias[n * conv.oc + k] : 0);
}

/* Copies count results to dst, with what is added to them. */
SDW_INLINE void write_result(const sdw_conv2d& conv, int64_t n, int64_t k, int64_t pixel, const float* from, int64_t count) {
    const int64_t at = (n * conv.oc + k) * conv.oh * conv.ow + pixel;
    const float c = constant(conv, n, k);
    float* to = conv.dst + at;
    for (int64_t i = 0; i < count; i += 16) {
        __builtin_prefetch(to + count + i, 1);
    }
    if (conv.add) {
        const float* add = conv.add + at;
        for (int64_t i = 0; i < count; i += 16) {
            __builtin_prefetch(add + count + i);
        }
        for (int64_t i = 0; i < count; i++) {
            to[i] = from[i] + c + add[i];
        }
    } else {
        for (int64_t i = 0; i < count; i++) {
            to[i] = from[i] + c;
        }
    }
}

/* Transforms row k of M back: places t0 to t1, m points at that of t0. */
template <int tile>
static void write_output(const plan& p, int64_t k, int64_t t0, int64_t t1, const float* m) {
    const sdw_conv2d& conv = *p.conv;
    enum { side = tile + 2 };
    float lines[tile][tile * VL];
    for (int64_t t = t0; t < t1; t += VL, m += VL) {
        vf half[side][tile], y[tile][tile];
        for (int i = 0; i < side; i++) {
            vf row[side];
            for (int j = 0; j < side; j++) {
                row[j] = load(m + (i * side + j) * p.m_stride);
                __builtin_prefetch(m + (i * side + j) * p.m_stride + 4 * VL);
            }
            transform_result<tile>(row, 1, half[i], 1);
        }
        for (int j = 0; j < tile; j++) {
            transform_result<tile>(&half[0][j], tile, &y[0][j], tile);
        }
        for (int i = 0; i < tile; i++) {
            if (tile == 4) {
                join4(y[i], lines[i]);
            } else {
                for (int l = 0; l < VL; l++) {
                    for (int j = 0; j < tile; j++) {
                        lines[i][l * tile + j] = y[i][j][l];
                    }
                }
            }
        }
        int64_t end = least(t + VL, t1);
        for (int64_t s = t; s < end;) {
            int64_t tx = s % p.tiles_x, ty = s / p.tiles_x % p.tiles_y, n = s / (p.tiles_x * p.tiles_y);
            int64_t count = least(end - s, p.tiles_x - tx);
            int64_t width = least(count * tile, conv.ow - tx * tile);
            for (int i = 0; i < tile && ty * tile + i < conv.oh; i++) {
                write_result(conv, n, k, (ty * tile + i) * conv.ow + tx * tile, lines[i] + (s - t) * tile, width);
            }
            s += count;
        }
    }
}

static void write_output1(const plan& p, int64_t k, int64_t t0, int64_t t1, const float* m) {
    const sdw_conv2d& conv = *p.conv;
    const int64_t size = conv.oh * conv.ow;
    for (int64_t t = t0; t < t1;) {
        int64_t count = least(t1 - t, size - t % size);
        write_result(conv, t / size, k, t % size, m + (t - t0), count);
        t += count;
    }
}

static void conv2d_run(const sdw_conv2d* conv, sdw_conv2d_method method, const sdw_team* team) {
    const plan p = make_plan(conv, method, team->nth);
    float* const v = (float*)round_up((int64_t)team->work, 64);
    float* const u = v + round_up(p.block / NR * p.v_panel, 16) + team->ith * (p.u_floats + p.m_floats);
    float* const m = u + p.u_floats;

    /* This thread's output channels, and its share of each block's panels. */
    const int part_k = team->ith % p.split_k, part_t = team->ith / p.split_k;
    const int64_t k0 = conv->oc * part_k / p.split_k, k1 = conv->oc * (part_k + 1) / p.split_k;
    const int64_t blocks = div_up(p.depth, VL);
    const int64_t r0 = blocks * team->ith / team->nth * VL, r1 = least(blocks * (team->ith + 1) / team->nth * VL, p.depth);

    for (int64_t t0 = 0; t0 < p.places; t0 += p.block) {
        const int64_t t1 = least(t0 + p.block, p.places);
        if (p.tile == 4) {
            write_input4(p, t0, t1, r0, r1, v);
        } else if (p.tile == 2) {
            write_input2(p, t0, t1, r0, r1, v);
        } else {
            write_input1(p, t0, t1, r0, r1, v);
        }
        team->barrier(team->barrier_arg);

        const int64_t panels = div_up(t1 - t0, NR);
        const int64_t first = panels * part_t / p.split_t, last = panels * (part_t + 1) / p.split_t;
        const int64_t mine0 = t0 + first * NR, mine1 = least(t0 + last * NR, t1);
        const int64_t chunks = div_up(k1 - k0, p.rows);
        for (int64_t chunk = 0; chunk < chunks && mine0 < mine1; chunk++) {
            const int64_t b0 = k0 + (k1 - k0) * chunk / chunks, rows = k0 + (k1 - k0) * (chunk + 1) / chunks - b0;
            const int64_t row_panels = div_up(rows, MR);
            for (int64_t d0 = 0; d0 < p.depth; d0 += p.depth_block) {
                const int64_t depth = least(p.depth_block, p.depth - d0), whole = round_up(depth, VL);
                const int64_t u_stride = rows * whole + 48;
                for (int64_t rp = 0; rp < row_panels; rp++) {
                    const int64_t i0 = rows * rp / row_panels, i1 = rows * (rp + 1) / row_panels;
                    for (int64_t i = i0; i < i1; i++) {
                        float* to = u + i0 * whole + (i - i0) * VL;
                        if (p.tile == 4) {
                            write_weights<4>(p, b0 + i, d0, depth, to, u_stride, i1 - i0);
                        } else if (p.tile == 2) {
                            write_weights<2>(p, b0 + i, d0, depth, to, u_stride, i1 - i0);
                        } else {
                            write_weights<1>(p, b0 + i, d0, depth, to, u_stride, i1 - i0);
                        }
                    }
                }
                for (int q = 0; q < p.products; q++) {
                    for (int64_t panel = first; panel < last; panel++) {
                        for (int64_t rp = 0; rp < row_panels; rp++) {
                            const int64_t i0 = rows * rp / row_panels, i1 = rows * (rp + 1) / row_panels;
                            float* to = m + q * p.m_stride + i0 * p.block + panel * NR;
                            products[i1 - i0](u + q * u_stride + i0 * whole, v + panel * p.v_panel + d0 / VL * p.v_step + q * VL * NR, p.v_step, depth,
                                              to, p.block, d0 > 0 ? to : zeros, d0 > 0 ? p.block : 0);
                        }
                    }
                }
            }
            for (int64_t i = 0; i < rows; i++) {
                const float* from = m + i * p.block + first * NR;
                if (p.tile == 4) {
                    write_output<4>(p, b0 + i, mine0, mine1, from);
                } else if (p.tile == 2) {
                    write_output<2>(p, b0 + i, mine0, mine1, from);
                } else {
                    write_output1(p, b0 + i, mine0, mine1, from);
                }
            }
        }
        if (t1 < p.places) {
            team->barrier(team->barrier_arg);
        }
    }
}
