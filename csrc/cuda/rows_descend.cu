// The gradient of log-probs and entropies with respect to a block of logits: one read and one write, perhaps in place.
//
// d logp / dz_j = [j is the target] - p_j and d entropy / dz_j = -p_j (log p_j + entropy).
#include "launch.cuh"
#include "rows.cuh"

namespace rlaif::cuda {
namespace {

struct Slopes {
    const float *of_logp, *of_entropy;
};

template <typename T, bool CAPPED>
__global__ void __launch_bounds__(THREADS)
    descend_columns(Logits logits, Asked asked, Said said, Slopes slopes, T* out, Layout out_layout, Size tiles) {
    const Size row = blockIdx.x / tiles, first = blockIdx.x % tiles * COLUMNS;
    const Size end = first + COLUMNS < logits.width ? first + COLUMNS : logits.width;
    const std::int64_t target = asked.targets[row];
    const bool ignored = target == asked.ignored;
    const T* from = static_cast<const T*>(logits.data) + start_of(logits.layout, row);
    T* to = out + start_of(out_layout, row);
    float of_logp = 0.0f, of_entropy = 0.0f, entropy = 0.0f, largest = 0.0f, logsum = 0.0f;
    if (!ignored) {
        // What has no log-prob, for a target outside the vocabulary or NaN in the row, has no gradient either.
        if (slopes.of_logp) of_logp = said.logp[row] != said.logp[row] ? NAN : slopes.of_logp[row];
        if (slopes.of_entropy) of_entropy = slopes.of_entropy[row], entropy = said.entropy[row];
        largest = said.largest[row], logsum = said.logsum[row];
    }
    const Transform<CAPPED> transform(asked, row);
    constexpr int SIZE = PACK<T>;
    for (Size column = first + threadIdx.x * SIZE; column < end; column += THREADS * SIZE) {
        Pack<T> pack;
        pack.load(from + column, ignored ? 0 : end - column);
#pragma unroll
        for (int i = 0; i < SIZE; ++i) {
            const float z = transform.z(widened(pack.at[i])), below = z - largest - logsum, p = exp2f(below * LOG2_E);
            const float surprise = p == 0.0f ? 0.0f : below + entropy;  // no probability: 0, not 0 * -inf
            const float hit = logits.first + column + i == target ? of_logp : 0.0f;
            const float slope = hit - p * (of_logp + of_entropy * surprise);
            pack.at[i] = narrowed<T>(ignored ? 0.0f : slope * transform.slope(z));
        }
        pack.store(to + column, end - column);
    }
}

}  // namespace

void descend(Queue queue, const Logits& logits, const Asked& asked, const Said& said, const float* of_logp,
             const float* of_entropy, void* out, const Layout& out_layout) {
    Call call("descend", logits.rows, logits.width, queue);
    const Size tiles = blocks_for(logits.width, COLUMNS);
    for_logits(logits.number, asked.cap > 0.0f, [&](auto number, auto capped) {
        using T = decltype(number);
        call.launch("descend_columns", descend_columns<T, decltype(capped)::value>, logits.rows * tiles, THREADS,
                    logits, asked, said, Slopes{of_logp, of_entropy}, static_cast<T*>(out), out_layout, tiles);
    });
}

}  // namespace rlaif::cuda
