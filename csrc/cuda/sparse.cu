// Products with a few rows of a matrix each: a sample of left @ right^T, and a sparse matrix with a dense one, which is
// the gradient of the former both ways. Every sum is one thread's or one warp's, in a fixed order: nothing is atomic.
#include "launch.cuh"
#include "numbers.cuh"

namespace rlaif::cuda {
namespace {

// Whether every pack of every row is whole and aligned: reads without a branch can be under way many at a time.
template <typename T>
bool is_even(const Table& table) {
    return Pack<T>::is_aligned(static_cast<const T*>(table.data)) && table.stride % PACK<T> == 0 &&
           table.width % PACK<T> == 0 && table.height > 0;
}

// Of a row of a table, the pack at a column; of what is no row, anything.
template <typename T, bool EVEN>
__device__ inline Pack<T> pack_at(const Table& table, Size row, Size column) {
    const bool inside = 0 <= row && row < table.height;
    const T* from = static_cast<const T*>(table.data) + (inside ? row : 0) * table.stride + column;
    Pack<T> pack;
    if constexpr (EVEN) pack.load_whole(from);
    else pack.load(from, inside ? table.width - column : 0);
    return pack;
}

// A warp for each product; those of one row of `left` follow each other, so that it is read from the cache.
template <typename T, bool EVEN>
__global__ void __launch_bounds__(THREADS)
    sample_products(Table left, Table right, Size many, const std::int64_t* ids, float* out) {
    const Size place = Size(blockIdx.x) * warps() + warp();
    if (place >= left.height * many) return;
    const std::int64_t id = ids[place];
    float sum = id < right.height ? 0.0f : NAN;
    if (0 <= id && id < right.height) {
        constexpr int SIZE = PACK<T>;
        const Size row = place / many;
#pragma unroll 2
        for (Size column = lane() * SIZE; column < left.width; column += LANES * SIZE) {
            const Pack<T> a = pack_at<T, EVEN>(left, row, column), b = pack_at<T, EVEN>(right, id, column);
#pragma unroll
            for (int i = 0; i < SIZE; ++i) sum = fmaf(widened(a.at[i]), widened(b.at[i]), sum);
        }
    }
#pragma unroll
    for (int bit = LANES / 2; bit > 0; bit /= 2) sum += from_partner(sum, bit);
    if (lane() == 0) out[place] = sum;
}

// A thread has a pack of columns of one row, and reads that of AHEAD rows of the table at a time: a row may have
// thousands of terms, which would take as many times what one read takes. A term that is none is read like any other:
// a branch would keep the next read waiting.
template <typename T, bool EVEN>
__global__ void __launch_bounds__(THREADS) sum_rows(Sparse sparse, Table table, T* out, Size tiles) {
    constexpr int SIZE = PACK<T>, AHEAD = EVEN ? 4 : 1;
    const Size row = blockIdx.x / tiles, column = (blockIdx.x % tiles * blockDim.x + threadIdx.x) * SIZE;
    if (column >= table.width) return;
    float sums[SIZE] = {};
    const Size end = sparse.bounds[row + 1];
    for (Size term = sparse.bounds[row]; term < end; term += AHEAD) {
        Size from[AHEAD];
        float factors[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            const bool there = term + i < end;
            from[i] = there ? sparse.columns[term + i] : -1;
            factors[i] = there ? sparse.factors[term + i] : 0.0f;
        }
        Pack<T> packs[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            packs[i] = pack_at<T, EVEN>(table, from[i], column);
            factors[i] = from[i] < 0 ? 0.0f : from[i] < table.height ? factors[i] : NAN;
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            if (factors[i] == 0.0f) continue;  // what counts nothing need not be finite
#pragma unroll
            for (int j = 0; j < SIZE; ++j) sums[j] = fmaf(factors[i], widened(packs[i].at[j]), sums[j]);
        }
    }
    Pack<T> sum;
#pragma unroll
    for (int j = 0; j < SIZE; ++j) sum.at[j] = narrowed<T>(sums[j]);
    sum.store(out + row * table.width + column, table.width - column);
}

}  // namespace

void sampled_product(Queue queue, const Table& left, const Table& right, Size many, const std::int64_t* ids,
                     float* out) {
    Call call("sampled_product", left.height, many, queue);
    for_numbers(left.number, [&](auto number) {
        using T = decltype(number);
        const auto kernel = is_even<T>(left) && is_even<T>(right) ? sample_products<T, true> : sample_products<T, false>;
        call.launch("sample_products", kernel, blocks_for(left.height * many, MOST_WARPS), THREADS, left, right, many,
                    ids, out);
    });
}

void sparse_product(Queue queue, const Sparse& sparse, const Table& table, void* out) {
    Call call("sparse_product", sparse.rows, table.width, queue);
    for_numbers(table.number, [&](auto number) {
        using T = decltype(number);
        const auto kernel = is_even<T>(table) ? sum_rows<T, true> : sum_rows<T, false>;
        const Size packs = blocks_for(table.width, PACK<T>);
        const int threads = packs < THREADS ? int(blocks_for(packs, LANES)) * LANES : THREADS;
        const Size tiles = packs > 0 ? blocks_for(packs, threads) : 0;
        call.launch("sum_rows", kernel, sparse.rows * tiles, threads, sparse, table, static_cast<T*>(out), tiles);
    });
}

}  // namespace rlaif::cuda
