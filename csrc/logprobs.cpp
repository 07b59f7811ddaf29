// Rows of logits, cut into pieces that are shared out between threads; and the Python side of logprobs.hpp.
#include "logprobs.hpp"
#include "team.hpp"
#include "variants.hpp"
#include "views.hpp"

#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace rlaif::logprobs {

RLAIF_DECLARE_VARIANTS(Variant)

namespace {

using Address = std::uintptr_t;

template <typename T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

// Rows are always cut at the same columns, so that a row's sums depend neither on how many rows there are nor on how
// many threads share them; yet one row alone keeps several threads busy.
constexpr std::size_t piece = 16384;

// work(row, begin, end, which piece) for every piece of every row.
template <typename Work>
void by_pieces(const Block& block, std::size_t threads, Work work) {
    const std::size_t pieces = (block.width + piece - 1) / piece, units = block.rows * pieces;
    Team team(block.rows * block.width < alone ? 1 : std::min(threads, units));
    // Whoever is done takes the next few, for a core that others use, too, is slower.
    const std::size_t few = std::max<std::size_t>(units / (team.size() * 32), 1);
    std::atomic<std::size_t> taken{0};
    team.run([&](std::size_t, std::size_t) {
        for (std::size_t first; (first = taken.fetch_add(few, std::memory_order_relaxed)) < units;) {
            for (std::size_t unit = first; unit < std::min(first + few, units); ++unit) {
                const std::size_t begin = unit % pieces * piece;
                work(unit / pieces, begin, std::min(begin + piece, block.width), unit);
            }
        }
    });
}

// A state as seen from another shift.
struct Moved {
    double mass, moment, chosen;

    Moved(const State& state, float shift, double unit) {
        const double by = (double(state.shift) - double(shift)) * unit, share = std::exp2(by);
        const bool empty = state.mass == 0.0f;  // then the share may be infinite
        mass = empty ? 0.0 : share * state.mass;
        moment = empty ? 0.0 : share * (state.moment + by * state.mass);
        chosen = by + state.chosen;
    }
};

State merged(const State& one, const State& other, double unit) {
    // Seen from the larger; a piece without probability says nothing of where the others lie.
    const bool further = double(other.shift) * unit > double(one.shift) * unit;
    const float shift = one.mass == 0.0f || (other.mass != 0.0f && further) ? other.shift : one.shift;
    const Moved a(one, shift, unit), b(other, shift, unit);
    return {shift, float(a.mass + b.mass), float(a.moment + b.moment),
            float(std::isnan(a.chosen) ? b.chosen : a.chosen)};
}

// The state of a block's columns of every row, into [rows].
void fold(const Block& block, bool entropy, std::size_t threads, const Variant& best, State* states) {
    const std::size_t pieces = (block.width + piece - 1) / piece;
    if (pieces == 0) std::fill_n(states, block.rows, State{0.0f, 0.0f, 0.0f, unmet});
    std::vector<State> parts(pieces > 1 ? block.rows * pieces : 0);
    State* into = pieces > 1 ? parts.data() : states;
    by_pieces(block, threads, [&](std::size_t row, std::size_t begin, std::size_t end, std::size_t unit) {
        into[unit] = block.targets[row] == block.ignored ? State{0.0f, 0.0f, 0.0f, unmet} : best.fold(block, row, begin, end, entropy);
    });
    if (pieces <= 1) return;
    for (std::size_t row = 0; row < block.rows; ++row) {
        states[row] = into[row * pieces];
        for (std::size_t part = 1; part < pieces; ++part) {
            states[row] = merged(states[row], into[row * pieces + part], block.unit(row));
        }
    }
}

// What is said of rows, [rows] each; entropies may be null, and so may both of shifts and logs.
struct Said {
    float *logprobs, *entropies, *shifts, *logs;
};

void finish(const State* states, const std::int64_t* targets, std::size_t rows, std::int64_t ignored, const Said& said) {
    constexpr double log_of_2 = 0.69314718055994531;
    for (std::size_t row = 0; row < rows; ++row) {
        const State& state = states[row];
        const bool asked = targets[row] != ignored;
        const double log = asked ? std::log2(double(state.mass)) : 0.0;
        if (said.shifts) {
            said.shifts[row] = asked ? state.shift : 0.0f;
            said.logs[row] = float(log);
        }
        const double chosen = double(state.chosen) - log;
        said.logprobs[row] = asked ? float(chosen * log_of_2) : 0.0f;
        if (!said.entropies) continue;
        said.entropies[row] = asked ? float((log - double(state.moment) / double(state.mass)) * log_of_2) : 0.0f;
    }
}

Block block_of(Address logits, int kind, Steps steps, std::size_t rows, std::size_t width, std::int64_t first,
               Address targets, std::int64_t ignored, Address temperatures, double temperature, double scale, double cap) {
    return {pointer<void>(logits), Kind(kind), steps, rows, width, first, pointer<const std::int64_t>(targets),
            ignored, pointer<const float>(temperatures), temperature, scale, cap};
}

Said said_of(Address logprobs, Address entropies, Address shifts, Address logs) {
    return {pointer<float>(logprobs), pointer<float>(entropies), pointer<float>(shifts), pointer<float>(logs)};
}

// The first row whose target is neither a column of the vocabulary nor `ignored`; -1 if there is none.
std::int64_t astray(const std::int64_t* targets, std::size_t rows, std::int64_t vocabulary, std::int64_t ignored) {
    for (std::size_t row = 0; row < rows; ++row) {
        if (targets[row] != ignored && (targets[row] < 0 || targets[row] >= vocabulary)) return std::int64_t(row);
    }
    return -1;
}

// Rows of any logits whose last dimension is dense and whose others have two strides at most.
bool steps_of(const DLTensor& logits, Steps& steps, std::size_t& rows) {
    const int axes = logits.ndim - 1;
    if (logits.strides && logits.shape[axes] > 1 && logits.strides[axes] != 1) return false;
    rows = 1;
    std::int64_t counts[2] = {1, 1}, apart[2] = {0, 0};  // the innermost dimension, and the one around it
    int found = 0;
    for (int axis = axes; axis-- > 0;) {
        const std::int64_t count = logits.shape[axis];
        rows *= std::size_t(count);
        if (count == 1) continue;
        std::int64_t stride = logits.strides ? logits.strides[axis] : 0;
        if (!logits.strides) {
            stride = 1;
            for (int inner = axis + 1; inner <= axes; ++inner) stride *= logits.shape[inner];
        }
        if (stride < 0) return false;
        if (found > 0 && stride == counts[found - 1] * apart[found - 1]) {
            counts[found - 1] *= count;  // goes on where the inner one ends
        } else if (found == 2) {
            return false;
        } else {
            counts[found] = count, apart[found++] = stride;
        }
    }
    steps = {std::size_t(counts[0] > 0 ? counts[0] : 1), std::size_t(apart[0]), std::size_t(apart[1])};
    return true;
}

// What is said of plain logits of any shape, if they are; True, or None if they were not. The results were just made; all but
// the log-probs may be None. Arguments: logits, targets, log-probs, entropies, what the way back needs (the shifts, then the
// logs), temperature, scale, softcap or None, ignored.
py::object at_once(PyObject* const* given) {
    const py::none nothing;
    DLTensor its{}, where{}, out{};
    Steps steps{};
    std::size_t rows = 0;
    if (!views.of(given[0], its) || its.ndim < 1 || !steps_of(its, steps, rows)) return nothing;
    const Kind kind = its.code == std::uint8_t(Code::bfloat) ? Kind::bfloat16 : its.bits == 32 ? Kind::float32 : Kind::float16;
    if (!holds(its, Code::real, 32) && !holds(its, Code::real, 16) && !holds(its, Code::bfloat, 16)) return nothing;
    if (!views.of(given[1], where) || !holds(where, Code::integer, 64) || !contiguous(where)) return nothing;
    if (where.ndim != its.ndim - 1) return nothing;
    for (int axis = 0; axis < where.ndim; ++axis) {
        if (where.shape[axis] != its.shape[axis]) return nothing;
    }
    const auto result = [&](PyObject* its) {
        return its != Py_None && views.of(its, out, true) ? static_cast<float*>(out.data) : nullptr;
    };
    float* told = result(given[4]);
    const Said said{result(given[2]), result(given[3]), told, told ? told + rows : nullptr};
    const double scale = PyFloat_AsDouble(given[6]), cap = given[7] == Py_None ? 0.0 : PyFloat_AsDouble(given[7]);
    const std::int64_t ignored = PyLong_AsLongLong(given[8]);
    const Block block{its.data, kind, steps, rows, std::size_t(its.shape[where.ndim]), 0,
                      static_cast<const std::int64_t*>(where.data), ignored, nullptr,
                      PyFloat_AsDouble(given[5]), scale, cap};
    if (PyErr_Occurred()) throw py::error_already_set();
    if (astray(block.targets, rows, std::int64_t(block.width), ignored) >= 0) return nothing;  // who goes the slow way is told
    static const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(""));
    std::size_t threads = 1;
    const auto work = [&] {
        State few[16];
        std::vector<State> many(rows > 16 ? rows : 0);
        State* states = rows > 16 ? many.data() : few;
        fold(block, said.entropies != nullptr, threads, best, states);
        finish(states, block.targets, rows, ignored, said);
    };
    if (rows * block.width < 4096) {  // less than what letting go of Python costs
        work();
    } else {
        threads = views.threads();
        const py::gil_scoped_release released;
        work();
    }
    return py::bool_(true);
}

}  // namespace

// Arguments are positional, for naming them takes longer than small rows do; rlaif_kernels/native/logprobs.py passes them.
#define RLAIF_BLOCK                                                                                                    \
    Address logits, int kind, std::size_t inner, std::size_t stride, std::size_t outer, std::size_t rows,              \
        std::size_t width, std::int64_t first,                                                                         \
        Address targets, std::int64_t ignored, Address temperatures, double temperature, double scale, double cap
#define RLAIF_BLOCK_OF \
    block_of(logits, kind, {inner, stride, outer}, rows, width, first, targets, ignored, temperatures, temperature, scale, cap)

void register_logprobs(py::module_& module) {
    define_quick<at_once, 9>(module, "logprobs_at_once");
    module.def("logprobs_forward", [](RLAIF_BLOCK, Address logprobs, Address entropies, Address shifts, Address logs,
                                      std::size_t threads, const std::string& variant) -> std::int64_t {
        const Block block = RLAIF_BLOCK_OF;
        const std::int64_t wrong = astray(block.targets, rows, std::int64_t(width), ignored);
        if (wrong >= 0) return wrong;
        const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
        const py::gil_scoped_release released;
        std::vector<State> states(rows);
        fold(block, entropies != 0, threads, best, states.data());
        finish(states.data(), block.targets, rows, ignored, said_of(logprobs, entropies, shifts, logs));
        return -1;
    });
    module.def("logprobs_fold", [](RLAIF_BLOCK, Address states, bool begun, std::size_t threads,
                                   const std::string& variant) {
        const Block block = RLAIF_BLOCK_OF;
        const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
        const py::gil_scoped_release released;
        State* into = pointer<State>(states);
        std::vector<State> news(begun ? rows : 0);
        fold(block, true, threads, best, begun ? news.data() : into);
        for (std::size_t row = 0; row < news.size(); ++row) into[row] = merged(into[row], news[row], block.unit(row));
    });
    module.def("logprobs_merge", [](Address states, Address others, std::size_t rows, Address temperatures,
                                    double temperature, double scale, double cap) {
        const Block block = block_of(0, 0, {1, 0, 0}, rows, 0, 0, 0, 0, temperatures, temperature, scale, cap);
        State* into = pointer<State>(states);
        const State* from = pointer<const State>(others);
        for (std::size_t row = 0; row < rows; ++row) into[row] = merged(into[row], from[row], block.unit(row));
    });
    module.def("logprobs_finish", [](Address states, Address targets, std::size_t rows, std::int64_t ignored,
                                     Address logprobs, Address entropies, Address shifts, Address logs) {
        finish(pointer<const State>(states), pointer<const std::int64_t>(targets), rows, ignored,
               said_of(logprobs, entropies, shifts, logs));
    });
    module.def("logprobs_astray", [](Address targets, std::size_t rows, std::int64_t vocabulary, std::int64_t ignored) {
        return astray(pointer<const std::int64_t>(targets), rows, vocabulary, ignored);
    });
    module.def("logprobs_descend", [](RLAIF_BLOCK, Address of_logprobs, Address of_entropies, Address shifts, Address logs,
                                      Address spread, Address out, std::size_t out_stride, std::size_t out_outer,
                                      std::size_t threads,
                                      const std::string& variant) {
        const Block block = RLAIF_BLOCK_OF;
        const Slopes slopes{pointer<const float>(of_logprobs), pointer<const float>(of_entropies),
                            pointer<const float>(shifts), pointer<const float>(logs), pointer<const float>(spread)};
        const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
        const py::gil_scoped_release released;
        by_pieces(block, threads, [&](std::size_t row, std::size_t begin, std::size_t end, std::size_t) {
            best.descend(block, slopes, row, begin, end, pointer<void>(out), {inner, out_stride, out_outer});
        });
    });
}

}  // namespace rlaif::logprobs
