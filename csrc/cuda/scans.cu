// Advantages and returns: affine recursions from the last token to the first, over the unmasked tokens of each row.
//
// Each token is a link: it makes of what follows it the excess E of its return over its value, E = a E' + b V' + c.
// Links compose, so a block links its tile in log time: within a thread, within a warp, across the warps. Tiles are
// linked from the right, by the one block that walks the row or, where long rows are few, in three launches: a link for
// each tile, what follows each tile, and the tiles again with what follows them known. The numbers are the same.
#include "launch.cuh"

namespace rlaif::cuda {
namespace {

enum : int { THERE = 1, CUT = 2 };  // of a link: it has an unmasked token; an episode ends in it

// E of the link's first unmasked token, as a function of E' and V' of the next one behind the link; `alone` where the
// row has none. `value` is V of its first unmasked token. Past a cut, nothing that follows has a say, not even as NaN.
template <typename Real>
struct Link {
    Real a, b, c, alone, value;
    int state;
};

// What follows a token.
template <typename Real>
struct Next {
    Real excess, value;
    int there;  // 0: nothing does
};

// The link of two neighbours. Every fma is spelled out, so that two kernels cannot round the same numbers differently.
template <typename Real>
__device__ inline Link<Real> linked(const Link<Real>& left, const Link<Real>& right) {
    if (!(left.state & THERE)) return right;
    if (!(right.state & THERE) || left.state & CUT) return left;
    const auto onto = [&](Real excess) { return fma(left.a, excess, fma(left.b, right.value, left.c)); };
    return {left.a * right.a, left.a * right.b, onto(right.c), onto(right.alone), left.value, right.state};
}

template <typename Real>
__device__ inline Next<Real> followed(const Link<Real>& link, const Next<Real>& next) {
    if (!(link.state & THERE)) return next;
    const bool cut = link.state & CUT;
    const Real excess = cut          ? link.c
                        : next.there ? fma(link.a, next.excess, fma(link.b, next.value, link.c))
                                     : link.alone;
    return {excess, link.value, 1};
}

// The tokens of one thread, in registers. V-trace weighs a step by rho and lets what follows through by trace.
template <typename Real, bool TRACE>
struct Tokens {
    static constexpr int SIZE = ITEMS<Real>;
    Real reward[SIZE], value[SIZE], after[SIZE], rho[TRACE ? SIZE : 1], trace[TRACE ? SIZE : 1];
    bool mask[SIZE], done[SIZE];

    // Those at `first` and after, as far as they lie before `end`; nothing has a say off the mask.
    __device__ Tokens(const Scan<Real>& its, Size first, Size end) {
        const Size there = end - first;
        fill(mask, its.mask, first, there);
        fill(done, its.dones, first, there);
        fill(reward, its.rewards, first, there);
        fill(value, its.values, first, there);
        fill(after, its.after, first, there);
        if constexpr (TRACE) fill(rho, its.log_ratios, first, there);
#pragma unroll
        for (int i = 0; i < SIZE; ++i) {
            if constexpr (TRACE) {
                const Real ratio = exp(rho[i]);
                rho[i] = ratio > its.rho_clip ? its.rho_clip : ratio;
                trace[i] = ratio > its.trace_clip ? its.trace_clip : ratio;
            }
        }
    }

    template <typename T>
    static __device__ void fill(T (&values)[SIZE], const T* from, Size first, Size there) {
        Run<T, SIZE> run{};
        if (from) run.load(from + first, there);
#pragma unroll
        for (int i = 0; i < SIZE; ++i) values[i] = run.at[i];
    }

    __device__ Link<Real> link(int i, Real gamma, Real lam) const {
        if (!mask[i]) return {1, 0, 0, 0, 0, 0};
        const Real weight = TRACE ? rho[i] : Real(1);
        const Real alone = weight * (fma(gamma, after[i], reward[i]) - value[i]);
        if (done[i]) return {0, 0, alone, alone, value[i], THERE | CUT};
        const Real through = TRACE ? gamma * lam * trace[i] : gamma * lam;
        return {through, weight * gamma, weight * (reward[i] - value[i]), alone, value[i], THERE};
    }
    // The policy-gradient advantage of V-trace, where lambda does not weigh the step that follows.
    __device__ Real advantage(int i, Real gamma, const Next<Real>& next) const {
        const bool end = done[i] || !next.there;
        const Real delta = fma(gamma, end ? after[i] : next.value, reward[i]) - value[i];
        return rho[TRACE ? i : 0] * (end ? delta : fma(gamma, next.excess, delta));
    }
};

// The links of all lanes from this one on.
template <typename Real>
__device__ inline Link<Real> with_later_lanes(Link<Real> link) {
#pragma unroll
    for (int by = 1; by < LANES; by *= 2) {
        const Link<Real> later = from_later(link, by);
        if (lane() + by < LANES) link = linked(link, later);
    }
    return link;
}

template <typename Real>
struct Row {
    Size begin, end;
    Real gamma, lam;

    __device__ Row(const Scan<Real>& its, Size row) {
        begin = its.offsets ? within(its.offsets[row], its.steps) : row * its.steps;
        end = its.offsets ? within(its.offsets[row + 1], its.steps) : begin + its.steps;
        gamma = its.gammas ? its.gammas[row] : its.gamma;
        lam = its.lams ? its.lams[row] : its.lam;
    }
    // Offsets live on the device, looked at by nobody: wrong ones give wrong numbers, and touch no other memory.
    static __device__ Size within(Size offset, Size most) { return offset < 0 ? 0 : offset < most ? offset : most; }
};

// A block takes in one tile, [first, first + blockDim.x * SIZE): its link, and if `writes`, what it says of its tokens
// given what follows the tile.
template <typename Real, bool TRACE>
__device__ Link<Real> over_tile(const Scan<Real>& its, const Row<Real>& row, Size first, Next<Real> next, bool writes) {
    __shared__ Link<Real> of_warps[MOST_WARPS];
    constexpr int SIZE = ITEMS<Real>;
    const Size mine = first + Size(threadIdx.x) * SIZE;
    const Tokens<Real, TRACE> tokens(its, mine, row.end);
    Link<Real> link = tokens.link(SIZE - 1, row.gamma, row.lam);
#pragma unroll
    for (int i = SIZE - 2; i >= 0; --i) link = linked(tokens.link(i, row.gamma, row.lam), link);
    link = with_later_lanes(link);
    const Link<Real> behind = from_later(link, 1);
    __syncthreads();  // until nobody reads what the tile before this one put there
    if (lane() == 0) of_warps[warp()] = link;
    __syncthreads();
    Link<Real> later{1, 0, 0, 0, 0, 0}, all = later;
    for (int other = warps() - 1; other >= 0; --other) {
        if (other == warp()) later = all;
        all = linked(of_warps[other], all);
    }
    if (!writes) return all;
    next = followed(later, next);
    if (lane() + 1 < LANES) next = followed(behind, next);
    Run<Real, SIZE> advantages, targets;
#pragma unroll
    for (int i = SIZE - 1; i >= 0; --i) {
        const Next<Real> here = followed(tokens.link(i, row.gamma, row.lam), next);
        const Real advantage = TRACE ? tokens.advantage(i, row.gamma, next) : here.excess;
        advantages.at[i] = tokens.mask[i] ? advantage : Real(0);
        targets.at[i] = tokens.mask[i] ? here.excess + tokens.value[i] : Real(0);
        next = here;
    }
    advantages.store(its.advantages + mine, row.end - mine);
    targets.store(its.targets + mine, row.end - mine);
    return all;
}

enum class Phase { whole, links, tiles };

// `whole`: a block a row. Else a block a tile, whose place in `room` holds its link and then what follows it.
template <typename Real, bool TRACE>
__global__ void __launch_bounds__(THREADS) scan_rows(Scan<Real> its, Size tiles, Real* room, Phase phase) {
    const Size tile_size = Size(blockDim.x) * ITEMS<Real>;
    const Row<Real> row(its, blockIdx.x / tiles);
    Next<Real> next{0, 0, 0};
    if (phase == Phase::whole) {
        const Size count = (row.end - row.begin + tile_size - 1) / tile_size;
        for (Size tile = count - 1; tile >= 0; --tile) {
            const Link<Real> link = over_tile<Real, TRACE>(its, row, row.begin + tile * tile_size, next, true);
            next = followed(link, next);
        }
        return;
    }
    const Size first = row.begin + blockIdx.x % tiles * tile_size;
    Real* place = room + Size(blockIdx.x) * LINK;
    if (first >= row.end) {
        if (phase == Phase::links && threadIdx.x == 0) place[5] = 0;  // nothing there
        return;
    }
    if (phase == Phase::tiles) next = {place[0], place[1], place[2] != Real(0)};
    const Link<Real> link = over_tile<Real, TRACE>(its, row, first, next, phase == Phase::tiles);
    if (phase == Phase::links && threadIdx.x == 0) {
        place[0] = link.a, place[1] = link.b, place[2] = link.c, place[3] = link.alone, place[4] = link.value;
        place[5] = Real(link.state);
    }
}

// A thread a row: in the place of each tile's link, what follows the tile.
template <typename Real>
__global__ void __launch_bounds__(THREADS) link_tiles(Size rows, Size tiles, Real* room) {
    const Size row = Size(blockIdx.x) * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    Next<Real> next{0, 0, 0};
    for (Size tile = tiles - 1; tile >= 0; --tile) {
        Real* place = room + (row * tiles + tile) * LINK;
        const Link<Real> link{place[0], place[1], place[2], place[3], place[4], int(place[5])};
        place[0] = next.excess, place[1] = next.value, place[2] = Real(next.there);
        next = followed(link, next);
    }
}

template <typename Real, bool TRACE>
void run(Queue queue, const Scan<Real>& its, int threads, Real* room) {
    Call call(TRACE ? "vtrace" : "gae", its.rows, its.steps, queue);
    const Size tiles = blocks_for(its.steps, Size(threads) * ITEMS<Real>);
    const auto rows_in = [&](Phase phase, Size each) {
        call.launch("scan_rows", scan_rows<Real, TRACE>, its.rows * each, threads, its, each, room, phase);
    };
    if (!room) return rows_in(Phase::whole, 1);
    rows_in(Phase::links, tiles);
    call.launch("link_tiles", link_tiles<Real>, blocks_for(its.rows, THREADS), THREADS, its.rows, tiles, room);
    rows_in(Phase::tiles, tiles);
}

}  // namespace

template <typename Real>
void scan(Queue queue, const Scan<Real>& its, int threads, Real* room) {
    its.log_ratios ? run<Real, true>(queue, its, threads, room) : run<Real, false>(queue, its, threads, room);
}
template void scan(Queue, const Scan<float>&, int, float*);
template void scan(Queue, const Scan<double>&, int, double*);

}  // namespace rlaif::cuda
