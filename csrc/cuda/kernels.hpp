// The CUDA half as the Python side calls it: addresses on one device, sizes, and the stream to work on. Nothing here
// waits, allocates or knows of CUDA's headers; rlaif_kernels/reference says what the results mean.
#pragma once

#include <cstdint>

namespace rlaif::cuda {

using Size = std::int64_t;

// Where the work goes: a device by its index, and a cudaStream_t of it.
struct Queue {
    int device;
    std::uintptr_t stream;
};

enum class Number : int { f32, bf16, f16, f64 };

// ---- rows of logits, rlaif_kernels/rows.py ----------------------------------------------------------------------

// Columns that one block takes in at a time. A row is cut up by its width alone, so its numbers depend on no other row.
inline constexpr Size COLUMNS = 8192;

// Where dense rows begin: row n at (n / group) * far + (n % group) * near, in numbers. Two strides, because the rows
// of logits[:, :-1], the usual view, are not all equally far apart.
struct Layout {
    Size group, far, near;
};

// [rows, width]: the tokens `first`, `first` + 1, ... of the vocabulary.
struct Logits {
    Number number;
    const void* data;
    Layout layout;
    Size rows, width, first;
};

// z = cap * tanh(scale * logit / cap) / temperature, or scale * logit / temperature where cap is 0.
struct Asked {
    const std::int64_t* targets;  // [rows]
    std::int64_t ignored;
    const float* temperatures;  // [rows], or null: `temperature` for all
    float temperature, scale, cap;
};

// [rows] each; `entropy` may be null. 0 where the target is ignored.
struct Said {
    float *logp, *entropy, *largest, *logsum;
};

// state [rows, 4] is what was taken in before, unless `fresh`, and afterwards. If it is null, `said` is written, of
// what was taken in as the whole vocabulary. parts [rows, ceil(width / COLUMNS), 4] is room for sharing a row out among
// several blocks, where rows are few; null: one block a row. The numbers are the same either way.
void fold(Queue queue, const Logits& logits, const Asked& asked, float* state, bool fresh, const Said& said,
          float* parts);
void finish(Queue queue, Size rows, const Asked& asked, const float* state, const Said& said);
// out [rows, width], of the logits' numbers; may be the logits. A null slope is 0.
void descend(Queue queue, const Logits& logits, const Asked& asked, const Said& said, const float* of_logp,
             const float* of_entropy, void* out, const Layout& out_layout);

// ---- products with a few rows of a matrix each, rlaif_kernels/sparse.py ------------------------------------------

// [height, width]; dense rows, `stride` numbers apart.
struct Table {
    Number number;
    const void* data;
    Size stride, height, width;
};

// [rows, height of a table] in compressed rows: row r has factors[i] in column columns[i] for bounds[r] <= i <
// bounds[r + 1]. A column below 0 stands for none.
struct Sparse {
    Size rows;
    const std::int64_t *bounds, *columns;
    const float* factors;
};

// out [left.height, many]: left[n] . right[ids[n, k]], 0 where the id is below 0.
void sampled_product(Queue queue, const Table& left, const Table& right, Size many, const std::int64_t* ids,
                     float* out);
// out [rows, table.width], of the table's numbers.
void sparse_product(Queue queue, const Sparse& sparse, const Table& table, void* out);

// ---- scans ------------------------------------------------------------------------------------------------------

// Tokens that one thread takes in at a time; a tile is what a block takes in.
template <typename Real>
inline constexpr int ITEMS = 32 / sizeof(Real);

// [rows, steps] each, or one after the other between `offsets` [rows + 1], of `steps` in all.
template <typename Real>
struct Scan {
    Size rows, steps;
    const std::int64_t* offsets;                        // null: not packed
    const Real *log_ratios, *rewards, *values, *after;  // log_ratios null: GAE, else V-trace; after may be null: 0
    const bool *mask, *dones;                           // dones may be null: none
    const Real *gammas, *lams;                          // [rows], or null: the same for all
    Real gamma, lam, rho_clip, trace_clip;
    Real *advantages, *targets;
};

// Numbers that a tile's summary takes: room [rows, ceil(steps / (threads * ITEMS)), LINK] is for sharing a row out
// among several blocks; null: one block a row. The results are the same either way.
inline constexpr int LINK = 8;
template <typename Real>
void scan(Queue queue, const Scan<Real>& its, int threads, Real* room);

// ---- whitening --------------------------------------------------------------------------------------------------

inline constexpr Size TILE = 4096;  // entries that one block sums up

// x, mask, out [count]; parts [ceil(count / TILE), 3]; stats [3]: the mean in two summands, and 1 / sqrt(var + eps).
template <typename Real>
void whiten(Queue queue, Size count, const Real* x, const bool* mask, double eps, double* parts, Real* stats,
            Real* out);

// ---- policy loss ------------------------------------------------------------------------------------------------

enum class Estimator : int { k1, k2, k3 };
enum class Share : int { token_mean, sequence_mean, sequence_sum, constant, given };

// Tensors are [rows, steps]; what may be null is not given.
template <typename Real>
struct Policy {
    Size rows, steps;
    const Real *logp, *old_logp, *advantages;
    const bool* mask;
    const Real *reference, *entropy, *correction, *weights;  // may be null; weights go with Share::given
    bool cispo, sequence;
    Real least, most, dual, kl, entropy_weight;  // the ratio's bounds, 1 - low and 1 + high; dual infinite: none
    Estimator kl_value, kl_gradient;
    Share share;
    double length;
    Real *slopes, *entropy_slopes;  // d loss / d logp and d loss / d entropy, up to `factor`; the latter may be null
    double* sums;                   // [rows, SUMS], scratch
    Real *loss, *factor, *metrics;  // [1], [1] and [8]
};

inline constexpr int SUMS = 10;
template <typename Real>
void policy_loss(Queue queue, const Policy<Real>& its);

}  // namespace rlaif::cuda
