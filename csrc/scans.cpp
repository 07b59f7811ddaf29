// Rows shared out between threads, the arithmetic in float64, and the Python side of scans.hpp.
#include "scans.hpp"
#include "team.hpp"
#include "variants.hpp"
#include "views.hpp"

#include <cmath>
#include <cstdint>
#include <string>

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace rlaif::scans {

RLAIF_DECLARE_VARIANTS(Variant)

namespace {

using Address = std::uintptr_t;

template <typename T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

void write(double* to, std::size_t at, double value) {
    if (to) to[at] = value;
}

void scan(const Rows<double>& rows, const Row& row) {
    bool last = true;  // no unmasked token was met yet: the next one ends the row
    double carry = 0.0, following = 0.0;
    for (std::size_t at = row.end; at-- > row.begin;) {
        if (!rows.mask[at]) {
            write(rows.first, at, 0.0);
            write(rows.second, at, 0.0);
            continue;
        }
        if (last || (rows.dones && rows.dones[at])) {
            carry = 0.0;
            following = rows.next_values ? rows.next_values[at] : 0.0;
            last = false;
        }
        const double value = rows.values ? rows.values[at] : 0.0, delta = rows.rewards[at] + row.gamma * following - value;
        if (rows.log_ratios) {
            const double ratio = std::exp(rows.log_ratios[at]);
            const double rho = std::min(ratio, rows.rho_clip), trace = row.lam * std::min(ratio, rows.trace_clip);
            write(rows.second, at, rho * (delta + row.gamma * carry));
            carry = rho * delta + row.gamma * trace * carry;
            write(rows.first, at, carry + value);
        } else {
            carry = delta + row.gamma * row.lam * carry;
            write(rows.first, at, carry);
            write(rows.second, at, carry + value);
        }
        following = value;
    }
}

// Where the rows are: dense, `steps` each, or cut at `offsets` [count + 1]; one constant each, or the same for all.
struct Layout {
    std::size_t count, steps;
    const std::int64_t* offsets;
    const double *gammas, *lams;
    double gamma, lam;

    Row row(std::size_t number) const {
        return {offsets ? std::size_t(offsets[number]) : number * steps,
                offsets ? std::size_t(offsets[number + 1]) : (number + 1) * steps, gammas ? gammas[number] : gamma,
                lams ? lams[number] : lam};
    }
    std::size_t tokens() const { return offsets ? std::size_t(offsets[count]) : count * steps; }
    // The first row that begins at or behind a share of all tokens.
    std::size_t first(std::size_t number, std::size_t of) const {
        if (!offsets) return count * number / of;
        const std::int64_t from = std::int64_t(tokens() * number / of);
        return std::size_t(std::lower_bound(offsets, offsets + count, from) - offsets);
    }
};

template <typename Real, typename Scan>
void run(const Rows<Real>& rows, const Layout& layout, std::size_t threads, Scan scan_row) {
    Team team(layout.tokens() < alone ? 1 : std::min(threads, layout.count));
    team.run([&](std::size_t number, std::size_t of) {
        const std::size_t end = number + 1 == of ? layout.count : layout.first(number + 1, of);
        for (std::size_t at = layout.first(number, of); at < end; ++at) scan_row(rows, layout.row(at));
    });
}

template <typename Real>
void bind(py::module_& module, const char* name) {
    module.def(name, [](Address rewards, Address values, Address next_values, Address log_ratios, Address mask, Address dones,
                        Address first, Address second, std::size_t count, std::size_t steps, Address offsets,
                        Address gammas, Address lams, double gamma, double lam, double rho_clip, double trace_clip,
                        std::size_t threads, const std::string& variant) {
        const Rows<Real> rows{pointer<const Real>(rewards), pointer<const Real>(values), pointer<const Real>(next_values),
                              pointer<const Real>(log_ratios), pointer<const bool>(mask), pointer<const bool>(dones),
                              pointer<Real>(first), pointer<Real>(second), rho_clip, trace_clip};
        const Layout layout{count, steps, pointer<const std::int64_t>(offsets), pointer<const double>(gammas),
                            pointer<const double>(lams), gamma, lam};
        if constexpr (sizeof(Real) == sizeof(float)) {
            const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
            const py::gil_scoped_release released;
            run(rows, layout, threads, best.scan);
        } else {
            const py::gil_scoped_release released;
            run(rows, layout, threads, &scan);
        }
    });
}

// Advantages and returns, if these are dense rows of one shape in float32 on the CPU, as most are; else None.
// Arguments: a tuple of rewards, values, mask, dones and next values; gamma, lam; where to put the results, a pair, or None;
// and whether either is wanted. Values may be None as well as dones and next values: then they are 0.
py::object at_once(PyObject* const* arguments) {
    const py::none nothing;
    PyObject *gamma = arguments[1], *lam = arguments[2], *out = arguments[3];
    if (!PyFloat_Check(gamma) || !PyFloat_Check(lam)) return nothing;  // a tensor, say: one a row
    PyObject* given[5];
    for (int n = 0; n < 5; ++n) given[n] = PyTuple_GET_ITEM(arguments[0], n);
    DLTensor shape{}, view{};
    bool fit = true;
    const auto take = [&](PyObject* one, Code code, int bits, bool fresh = false) -> void* {
        if (!fit || one == Py_None) return nullptr;
        fit = views.of(one, view, fresh) && holds(view, code, bits) && contiguous(view) && view.data;  // something is in it
        if (!shape.shape) shape = view;
        fit = fit && alike(shape, view);
        return view.data;
    };
    const auto number = [&](PyObject* one, bool fresh = false) {
        return static_cast<float*>(take(one, Code::real, 32, fresh));
    };
    const auto truth = [&](PyObject* one) { return static_cast<const bool*>(take(one, Code::boolean, 8)); };
    const float *rewards = number(given[0]), *values = number(given[1]), *next_values = number(given[4]);
    const bool *mask = truth(given[2]), *dones = truth(given[3]);
    if (!fit || !rewards || !mask || shape.ndim != 2) return nothing;
    py::object results[2];
    float* into[2];
    for (int n = 0; n < 2; ++n) {
        if (out != Py_None) {
            results[n] = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(out, n));
        } else {
            results[n] = arguments[4 + n] == Py_True ? views.like(given[0]) : py::object(nothing);
        }
        into[n] = number(results[n].ptr(), true);
    }
    if (!fit) return nothing;
    const Rows<float> rows{rewards, values, next_values, nullptr, mask, dones, into[0], into[1], 1.0, 1.0};
    const Layout layout{std::size_t(shape.shape[0]), std::size_t(shape.shape[1]), nullptr, nullptr, nullptr,
                        PyFloat_AS_DOUBLE(gamma), PyFloat_AS_DOUBLE(lam)};
    static const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(""));
    if (layout.tokens() < 4096) {  // less than what letting go of Python costs
        run(rows, layout, 1, best.scan);
    } else {
        const std::size_t threads = views.threads();
        const py::gil_scoped_release released;
        run(rows, layout, threads, best.scan);
    }
    return py::reinterpret_steal<py::object>(PyTuple_Pack(2, results[0].ptr(), results[1].ptr()));
}

}  // namespace

// Arguments are positional, for naming them takes longer than short rows do; rlaif_kernels/native/scans.py passes them.
void register_scans(py::module_& module) {
    bind<float>(module, "scan_f32");
    bind<double>(module, "scan_f64");
    define_quick<at_once, 6>(module, "gae_at_once");
}

}  // namespace rlaif::scans
