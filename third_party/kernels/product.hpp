/* The matrix product at the bottom of everything: C[i][t] += sum over r of
 * A[i][r] * B[r][t], of f32, for NR columns t and at most MR rows i.
 *
 *   B, a panel: [r / VL][VL][NR]; blocks of VL elements lie step floats apart
 *   A, a panel of m rows: [r / VL][m][VL], so that its rows can be written as
 *      vectors of VL and every element lies at a constant distance
 *   C: rows ld floats apart
 *
 * A can also be m rows that lie a_ld floats apart, as they are (direct).
 *
 * MR x NR fills the registers: 14x32 of 32 in AVX-512, 6x16 of 16 in AVX2. */

#define NR (2 * VL)
#if defined(__AVX512F__)
#define MR 14
#elif defined(__aarch64__)
#define MR 12
#else
#define MR 6
#endif

static const float zeros[NR] = {};

/* start, rows start_ld floats apart, is what the sums begin with. */
template <int m, bool direct>
SDW_INLINE void multiply(const float* a, int64_t a_ld, const float* b, int64_t step, int64_t depth, float* c, int64_t ld, const float* start, int64_t start_ld) {
    const int64_t ahead = (VL == 16 ? 2 : 4) * step; /* early enough for what comes from the third-level cache */
    vf sum[m][2];
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            sum[i][j] = load(start + i * start_ld + j * VL);
        }
    for (; depth > 0; depth -= VL) {
        int64_t count = least(depth, VL);
        for (int64_t r = 0; r < count; r++) {
            vf b0 = load(b), b1 = load(b + VL);
#pragma GCC unroll 16
            for (int i = 0; i < m; i++) {
                vf x = splat(direct ? a[i * a_ld + r] : a[i * VL + r]);
                sum[i][0] += x * b0;
                sum[i][1] += x * b1;
            }
            __builtin_prefetch(b + ahead);
            if (VL == 16) {
                __builtin_prefetch(b + ahead + VL);
            }
            b += NR;
        }
        a += direct ? VL : m * VL;
        b += step - VL * NR;
    }
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            store(c + i * ld + j * VL, sum[i][j]);
        }
}

template <int m>
static void product(const float* a, const float* b, int64_t step, int64_t depth, float* c, int64_t ld, const float* start, int64_t start_ld) {
    multiply<m, false>(a, 0, b, step, depth, c, ld, start, start_ld);
}

template <int m>
static void product_of_rows(const float* a, int64_t a_ld, const float* b, int64_t depth, float* c, int64_t ld, const float* start, int64_t start_ld) {
    multiply<m, true>(a, a_ld, b, VL * NR, depth, c, ld, start, start_ld);
}

typedef void (*product_function)(const float*, const float*, int64_t, int64_t, float*, int64_t, const float*, int64_t);
typedef void (*product_of_rows_function)(const float*, int64_t, const float*, int64_t, float*, int64_t, const float*, int64_t);

#if MR == 14
#define SDW_EACH_M(f) nullptr, f<1>, f<2>, f<3>, f<4>, f<5>, f<6>, f<7>, f<8>, f<9>, f<10>, f<11>, f<12>, f<13>, f<14>
#elif MR == 12
#define SDW_EACH_M(f) nullptr, f<1>, f<2>, f<3>, f<4>, f<5>, f<6>, f<7>, f<8>, f<9>, f<10>, f<11>, f<12>
#else
#define SDW_EACH_M(f) nullptr, f<1>, f<2>, f<3>, f<4>, f<5>, f<6>
#endif

static const product_function products[MR + 1] = {SDW_EACH_M(product)};
static const product_of_rows_function products_of_rows[MR + 1] = {SDW_EACH_M(product_of_rows)};

/* Whether rows are best read as they are: more of them than the first-level cache has
 * ways would fight for it where their distance is a power of two. */
enum { read_rows = MR <= 8 };

/* What product() could do if it never waited for memory: the peak of the processor. */
static double multiply_adds(int64_t rounds) {
    enum { sums = 10 }; /* enough to hide the latency of four cycles on two units */
    vf sum[sums];
    for (int i = 0; i < sums; i++) {
        sum[i] = splat(1.0f + i);
    }
    vf factor = splat(0.5f), term = splat(1.0f);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 10
        for (int i = 0; i < sums; i++) {
            sum[i] = sum[i] * factor + term;
        }
        /* The compiler may not know what becomes of them. */
        __asm__ volatile("" : "+r"(r));
    }
    vf total = {};
    for (int i = 0; i < sums; i++) {
        total += sum[i];
    }
    __asm__ volatile("" : : "m"(total));
    return 2.0 * VL * sums * (double)rounds;
}
