// Whitening of all unmasked entries together: a count, mean and sum of squares for each tile, merged in a fixed order
// (Chan, Golub & LeVeque, 1983), so that neither a large mean nor the number of blocks changes what comes out.
#include "launch.cuh"

namespace rlaif::cuda {
namespace {

struct Moments {
    double count, mean, squares;  // of deviations from the mean
};

__device__ inline Moments merged(const Moments& one, const Moments& other) {
    const double count = one.count + other.count;
    if (one.count == 0 || other.count == 0) return one.count == 0 ? other : one;
    const double apart = other.mean - one.mean;
    return {count, one.mean + apart * (other.count / count),
            one.squares + other.squares + apart * apart * (one.count * other.count / count)};
}

constexpr int EACH = TILE / THREADS;

template <typename Real>
__global__ void __launch_bounds__(THREADS)
    moments_of_tiles(Size count, const Real* x, const bool* mask, double* parts) {
    const Size first = Size(blockIdx.x) * TILE + threadIdx.x;
    Real values[EACH];
    bool there[EACH];
    Real sum = 0, number = 0;
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const Size at = first + i * THREADS;
        there[i] = at < count && mask[at];
        values[i] = there[i] ? x[at] : Real(0);
        sum += values[i];
        number += there[i] ? Real(1) : Real(0);
    }
    number = sum_over_block(number);
    const Real centre = sum_over_block(sum) / (number > Real(0) ? number : Real(1));
    // Deviations from what is nearly the mean: their own mean mends it, and the sum of their squares.
    Real rest = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const Real apart = there[i] ? values[i] - centre : Real(0);
        rest += apart;
        squares += apart * apart;
    }
    rest = sum_over_block(rest), squares = sum_over_block(squares);
    if (threadIdx.x != 0) return;
    const double all = number > Real(0) ? double(number) : 1.0, mend = double(rest) / all;
    double* part = parts + Size(blockIdx.x) * 3;
    part[0] = number, part[1] = double(centre) + mend, part[2] = double(squares) - mend * mend * all;
}

// One block: each thread merges every THREADS-th part, then the first thread what they have.
template <typename Real>
__global__ void __launch_bounds__(THREADS) merge_moments(Size tiles, const double* parts, double eps, Real* stats) {
    __shared__ Moments of_threads[THREADS];
    Moments mine{0, 0, 0};
    for (Size part = threadIdx.x; part < tiles; part += THREADS) {
        mine = merged(mine, {parts[part * 3], parts[part * 3 + 1], parts[part * 3 + 2]});
    }
    of_threads[threadIdx.x] = mine;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (int(threadIdx.x) < half) {
            of_threads[threadIdx.x] = merged(of_threads[threadIdx.x], of_threads[threadIdx.x + half]);
        }
    }
    if (threadIdx.x != 0) return;
    const Moments all = of_threads[0];
    stats[0] = Real(all.mean);
    stats[1] = Real(all.mean - double(stats[0]));
    stats[2] = Real(1.0 / sqrt(all.squares / (all.count > 0 ? all.count : 1.0) + eps));
}

template <typename Real>
__global__ void __launch_bounds__(THREADS)
    whiten_tiles(Size count, const Real* x, const bool* mask, const Real* stats, Real* out) {
    const Real mean = stats[0], rest = stats[1], scale = stats[2];
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const Size at = Size(blockIdx.x) * TILE + i * THREADS + threadIdx.x;
        if (at < count) out[at] = mask[at] ? ((x[at] - mean) - rest) * scale : Real(0);
    }
}

}  // namespace

template <typename Real>
void whiten(Queue queue, Size count, const Real* x, const bool* mask, double eps, double* parts, Real* stats,
            Real* out) {
    Call call("masked_whiten", 1, count, queue);
    const Size tiles = blocks_for(count, TILE);
    call.launch("moments_of_tiles", moments_of_tiles<Real>, tiles, THREADS, count, x, mask, parts);
    call.launch("merge_moments", merge_moments<Real>, 1, THREADS, tiles, parts, eps, stats);
    call.launch("whiten_tiles", whiten_tiles<Real>, tiles, THREADS, count, x, mask, stats, out);
}
template void whiten(Queue, Size, const float*, const bool*, double, double*, float*, float*);
template void whiten(Queue, Size, const double*, const bool*, double, double*, double*, double*);

}  // namespace rlaif::cuda
