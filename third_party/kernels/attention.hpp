/* Attention without a matrix of scores: softmax(scale * q k') v, for blocks of
 * queries and keys, with the running maximum and sum of Milakov and Gimelshein,
 * "Online normalizer calculation for softmax" (arXiv:1805.02867).
 *
 * Everything lies transposed, a query to a lane, so that maxima, sums and factors
 * are plain vectors, and the weights of a block of keys come out of the first
 * product as the panel that the second one takes. */

enum { key_block = 252 }; /* keys at a time, a multiple of every MR */

/* Queries that share packed keys and values: what fits the second-level cache, but
 * enough to be worth the packing. */
SDW_INLINE int64_t query_block(const sdw_attention* at) {
    const int64_t floats = VL == 16 ? 40960 : 20480;
    return most(floats / at->width / NR * NR, 256);
}

static size_t attention_work(const sdw_attention* at) {
    const int64_t width = round_up(at->width, VL), queries = least(query_block(at), round_up(at->queries, NR));
    const int64_t floats = 2 * queries * width + 2 * queries /* queries, results; maxima, sums */
        + 2 * (key_block + VL) * width    /* keys and values */
        + key_block * NR;                 /* weights */
    return 4 * floats + 64;
}

/* Turns the scores of count keys for NR queries into weights, scaling what earlier
 * keys gave to the new maximum. */
static void soften(float* scores, int64_t count, float* maxima, float* sums, float* results, int64_t width) {
    vf old[2], top[2], sum[2];
    for (int h = 0; h < 2; h++) {
        old[h] = top[h] = load(maxima + h * VL);
    }
    for (int64_t i = 0; i < count; i++) {
        for (int h = 0; h < 2; h++) {
            vf s = load(scores + i * NR + h * VL);
            top[h] = s > top[h] ? s : top[h];
        }
    }
    for (int h = 0; h < 2; h++) {
        vf factor = exp_negative(old[h] - top[h]);
        sum[h] = load(sums + h * VL) * factor;
        store(maxima + h * VL, top[h]);
        for (int64_t d = 0; d < width; d++) {
            store(results + d * NR + h * VL, load(results + d * NR + h * VL) * factor);
        }
    }
    for (int64_t i = 0; i < count; i++) {
        for (int h = 0; h < 2; h++) {
            vf w = exp_negative(load(scores + i * NR + h * VL) - top[h]);
            sum[h] += w;
            store(scores + i * NR + h * VL, w);
        }
    }
    for (int h = 0; h < 2; h++) {
        store(sums + h * VL, sum[h]);
    }
}

/* Queries q0 to q1 of one head; q, k, v and dst point at it. */
static void attend(const sdw_attention* at, const float* q, const float* k, const float* v, float* dst, int64_t q0, int64_t q1, float* work) {
    const int64_t width = at->width, panels = div_up(q1 - q0, NR), lanes = panels * NR;
    float *queries = work, *results = queries + lanes * width, *maxima = results + lanes * width, *sums = maxima + lanes;
    float *scores = sums + lanes, *keys = scores + key_block * NR, *values = keys + (key_block + VL) * round_up(width, VL);

    for (int64_t p = 0; p < panels; p++) {
        float* to = queries + p * NR * width;
        const int64_t first = q0 + p * NR, count = least(NR, q1 - first);
        if (count < NR) {
            memset(to, 0, 4 * NR * width);
        }
        transpose(q + first * at->q_row, at->q_row, count, width, to, NR, true);
        for (int64_t i = 0; i < NR * width; i += VL) {
            store(to + i, load(to + i) * at->scale);
        }
    }
    memset(results, 0, 4 * lanes * width);
    memset(sums, 0, 4 * lanes);
    for (int64_t i = 0; i < lanes; i++) {
        maxima[i] = -1e30f;
    }

    for (int64_t k0 = 0; k0 < at->keys; k0 += key_block) {
        const int64_t count = least(key_block, at->keys - k0);
        const int64_t key_panels = div_up(count, MR), value_panels = div_up(width, MR);
        const int64_t wide = round_up(width, VL), deep = round_up(count, VL);
        for (int64_t p = 0; p < key_panels; p++) {
            const int64_t i0 = count * p / key_panels, i1 = count * (p + 1) / key_panels;
            pack_rows(k + (k0 + i0) * at->k_row, at->k_row, i1 - i0, width, keys + i0 * wide);
        }
        /* A panel of values holds dimensions as rows: VL keys of each, turned. */
        for (int64_t p = 0; p < value_panels; p++) {
            const int64_t d0 = width * p / value_panels, d1 = width * (p + 1) / value_panels;
            for (int64_t i = 0; i < count; i += VL) {
                transpose(v + (k0 + i) * at->v_row + d0, at->v_row, least(VL, count - i), d1 - d0, values + d0 * deep + i * (d1 - d0), VL, true);
            }
        }
        for (int64_t p = 0; p < panels; p++) {
            for (int64_t kp = 0; kp < key_panels; kp++) {
                const int64_t i0 = count * kp / key_panels, i1 = count * (kp + 1) / key_panels;
                products[i1 - i0](keys + i0 * wide, queries + p * NR * width, VL * NR, width, scores + i0 * NR, NR, zeros, 0);
            }
            float* result = results + p * NR * width;
            soften(scores, count, maxima + p * NR, sums + p * NR, result, width);
            for (int64_t vp = 0; vp < value_panels; vp++) {
                const int64_t d0 = width * vp / value_panels, d1 = width * (vp + 1) / value_panels;
                products[d1 - d0](values + d0 * deep, scores, VL * NR, count, result + d0 * NR, NR, result + d0 * NR, NR);
            }
        }
    }

    for (int64_t p = 0; p < panels; p++) {
        const int64_t first = q0 + p * NR, count = least(NR, q1 - first);
        float* result = results + p * NR * width;
        for (int h = 0; h < 2; h++) {
            vf factor = 1 / load(sums + p * NR + h * VL);
            for (int64_t d = 0; d < width; d++) {
                store(result + d * NR + h * VL, load(result + d * NR + h * VL) * factor);
            }
        }
        transpose(result, NR, width, count, dst + first * at->dst_row, at->dst_row, false);
    }
}

static void attention_run(const sdw_attention* at, int ith, int nth, void* work) {
    float* floats = (float*)round_up((int64_t)work, 64);
    const int64_t blocks = div_up(at->queries, query_block(at)), items = at->images * at->heads * blocks;
    for (int64_t item = items * ith / nth; item < items * (ith + 1) / nth; item++) {
        const int64_t block = item % blocks, head = item / blocks % at->heads, image = item / blocks / at->heads, at_head = head * at->width;
        /* Blocks of nearly equal size, whole panels but for the last. */
        const int64_t panels = div_up(at->queries, NR);
        const int64_t q0 = panels * block / blocks * NR, q1 = least(panels * (block + 1) / blocks * NR, at->queries);
        const float *k = at->k_of ? at->k_of[image] : at->k + image * at->k_image, *v = at->v_of ? at->v_of[image] : at->v + image * at->v_image;
        attend(at, at->q + image * at->q_image + at_head, k + at_head, v + at_head,
               at->dst + image * at->dst_image + at_head, q0, q1, floats);
    }
}
