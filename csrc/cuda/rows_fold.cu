// Rows of logits to log-probs and entropies: one read, the largest of a tile first, then one exponential a logit.
//
// Of a tile of COLUMNS, each thread keeps its logits in registers while the block agrees on the largest. Tiles are
// merged from the left, by the one block that walks the row or, where rows are few, by `merge_parts`: the same way.
#include "launch.cuh"
#include "rows.cuh"

namespace rlaif::cuda {
namespace {

struct alignas(16) State {  // of a part of a row, as Backend.fold in rows.py has it
    float top, sum, moment, chosen;
};

__device__ inline State nothing() { return {-INFINITY, 0.0f, 0.0f, 0.0f}; }

// e^(top_i - top) of a part's sums; a part without probability adds nothing but the NaN that it may hold, though it may be
// so far below that its moment overflows. Every fma is spelled out, so that two kernels cannot round the same merge
// differently.
__device__ inline void take(State& all, const State& part, float top) {
    const float below = part.top - top;
    const float share = exp2f(below * LOG2_E);
    all.sum = fmaf(share, part.sum, all.sum);
    all.moment = fmaf(share, share == 0.0f ? part.moment : fmaf(below, part.sum, part.moment), all.moment);
}

__device__ inline State merged(const State& left, const State& right) {
    State all{left.top > right.top ? left.top : right.top, 0.0f, 0.0f, left.chosen + right.chosen};
    const float anchor = all.top == -INFINITY ? 0.0f : all.top;
    take(all, left, anchor);
    take(all, right, anchor);
    return all;
}

struct Sums {
    float sum, moment;
};

// A tile's state, but for `chosen`; the same in every thread.
template <typename T, bool CAPPED>
__device__ State over_tile(const T* row, Size width, Size first, const Transform<CAPPED>& transform) {
    constexpr int SIZE = PACK<T>, PACKS = COLUMNS / THREADS / SIZE;
    float z[PACKS * SIZE];
    float top = -INFINITY;
#pragma unroll
    for (int pack = 0; pack < PACKS; ++pack) {
        const Size column = first + Size(pack * THREADS + threadIdx.x) * SIZE;
        Pack<T> logits;
        logits.load(row + column, width - column);
#pragma unroll
        for (int i = 0; i < SIZE; ++i) {
            const float value = column + i < width ? transform.z(widened(logits.at[i])) : -INFINITY;
            z[pack * SIZE + i] = value;
            top = value > top ? value : top;  // NaN is never the largest, and reaches the sums below
        }
    }
    top = over_block(top, [](float one, float other) { return one > other ? one : other; });
    const float anchor = top == -INFINITY ? 0.0f : top;
    Sums sums{0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < PACKS * SIZE; ++i) {
        const float below = z[i] - anchor, power = exp2f(below * LOG2_E);
        sums.sum += power;
        sums.moment += power * (below == -INFINITY ? 0.0f : below);  // no probability: 0, where 0 * -inf were NaN
    }
    sums = over_block(sums, [](Sums one, Sums other) { return Sums{one.sum + other.sum, one.moment + other.moment}; });
    return {top, sums.sum, sums.moment, 0.0f};
}

// The target's z where its column is among these, else 0; NaN for what cannot be a token.
template <typename T, bool CAPPED>
__device__ float chosen_of(const T* row, const Logits& logits, std::int64_t target,
                           const Transform<CAPPED>& transform) {
    const std::int64_t column = target - logits.first;
    return 0 <= column && column < logits.width ? transform.z(widened(row[column])) : target < 0 ? NAN : 0.0f;
}

struct Into {
    float *state, *parts;
    bool fresh;
    Said said;
    Size tiles;
};

__device__ void say(const Said& said, Size row, const State& state, bool ignored) {
    const float logsum = logf(state.sum);
    said.logp[row] = ignored ? 0.0f : state.chosen - state.top - logsum;
    if (said.entropy) said.entropy[row] = ignored ? 0.0f : logsum - state.moment / state.sum;  // both terms >= 0
    said.largest[row] = ignored ? 0.0f : state.top;
    // NaN also where only the target has none, so that `descend` knows of it though it is not handed the log-prob.
    said.logsum[row] = ignored ? 0.0f : state.chosen != state.chosen ? NAN : logsum;
}

// One thread's last act for a row. Where a whole vocabulary was folded, a target that is not in it is known as such.
__device__ void conclude(const Into& into, const Logits& logits, std::int64_t target, Size row, State state,
                         bool ignored) {
    if (into.state) reinterpret_cast<State*>(into.state)[row] = state;
    else {
        if (target >= logits.width) state.chosen = NAN;
        say(into.said, row, state, ignored);
    }
}

__device__ State before(const Into& into, Size row) {
    return into.fresh ? nothing() : reinterpret_cast<const State*>(into.state)[row];
}

// A block takes `tiles` tiles of a row: all of them, or one, whose state then goes to `parts`.
template <typename T, bool CAPPED>
__global__ void __launch_bounds__(THREADS) fold_columns(Logits logits, Asked asked, Into into) {
    const Size blocks = into.parts ? into.tiles : 1;
    const Size row = blockIdx.x / blocks, part = blockIdx.x % blocks;
    const std::int64_t target = asked.targets[row];
    const bool ignored = target == asked.ignored;
    State state = into.parts ? nothing() : before(into, row);
    if (!ignored) {
        const T* data = static_cast<const T*>(logits.data) + start_of(logits.layout, row);
        const Transform<CAPPED> transform(asked, row);
        const Size end = into.parts ? part + 1 : into.tiles;
        for (Size tile = part; tile < end; ++tile) {
            State more = over_tile(data, logits.width, tile * COLUMNS, transform);
            if (tile == 0) more.chosen = chosen_of(data, logits, target, transform);
            state = into.parts ? more : merged(state, more);
        }
    }
    if (threadIdx.x != 0) return;
    if (into.parts) reinterpret_cast<State*>(into.parts)[row * into.tiles + part] = state;
    else conclude(into, logits, target, row, state, ignored);
}

__global__ void __launch_bounds__(THREADS) merge_parts(Logits logits, Asked asked, Into into) {
    const Size row = Size(blockIdx.x) * blockDim.x + threadIdx.x;
    if (row >= logits.rows) return;
    const std::int64_t target = asked.targets[row];
    const bool ignored = target == asked.ignored;
    State state = before(into, row);
    const State* parts = reinterpret_cast<const State*>(into.parts) + row * into.tiles;
    for (Size part = 0; !ignored && part < into.tiles; ++part) state = merged(state, parts[part]);
    conclude(into, logits, target, row, state, ignored);
}

__global__ void __launch_bounds__(THREADS) finish_rows(Size rows, Asked asked, const float* state, Said said) {
    const Size row = Size(blockIdx.x) * blockDim.x + threadIdx.x;
    if (row < rows) say(said, row, reinterpret_cast<const State*>(state)[row], asked.targets[row] == asked.ignored);
}

}  // namespace

void fold(Queue queue, const Logits& logits, const Asked& asked, float* state, bool fresh, const Said& said,
          float* parts) {
    Call call("fold", logits.rows, logits.width, queue);
    const Size tiles = blocks_for(logits.width, COLUMNS);
    if (tiles == 0) parts = nullptr;
    const Into into{state, parts, fresh || !state, said, tiles};
    for_logits(logits.number, asked.cap > 0.0f, [&](auto number, auto capped) {
        call.launch("fold_columns", fold_columns<decltype(number), decltype(capped)::value>,
                    logits.rows * (parts ? tiles : 1), THREADS, logits, asked, into);
    });
    if (parts) call.launch("merge_parts", merge_parts, blocks_for(logits.rows, THREADS), THREADS, logits, asked, into);
}

void finish(Queue queue, Size rows, const Asked& asked, const float* state, const Said& said) {
    Call call("finish", rows, 4, queue);
    call.launch("finish_rows", finish_rows, blocks_for(rows, THREADS), THREADS, rows, asked, state, said);
}

}  // namespace rlaif::cuda
