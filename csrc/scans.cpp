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

// Whether these are dense rows of one shape in float32 on the CPU, as most are; then what is asked was done.
// Arguments: rewards, values, mask, dones, next values, advantages, returns, gamma, lam, threads. Values, and either result,
// may be None as well as dones and next values: then they are 0, and it is not wanted.
bool at_once(PyObject* const* given) {
    PyObject *gamma = given[7], *lam = given[8];
    if (!PyFloat_Check(gamma) || !PyFloat_Check(lam)) return false;  // a tensor, say: one a row
    PyObject *const floats[] = {given[0], given[1], given[5], given[6], given[4]}, *const flags[] = {given[2], given[3]};
    void *numbers[5] = {}, *truths[2] = {};
    DLTensor shape{}, view{};
    const auto take = [&](PyObject* given, Code code, int bits, void*& into, bool fresh = false) {
        if (!views.of(given, view, fresh) || !holds(view, code, bits) || !contiguous(view)) return false;
        if (!shape.shape) shape = view;
        into = view.data;
        return alike(shape, view);
    };
    for (int n = 0; n < 5; ++n) {
        if (floats[n] != Py_None && !take(floats[n], Code::real, 32, numbers[n], n == 2 || n == 3)) return false;
    }
    for (int n = 0; n < 2; ++n) {
        if (flags[n] != Py_None && !take(flags[n], Code::boolean, 8, truths[n])) return false;
    }
    if (shape.ndim != 2) return false;
    for (int n = 0; n < 5; ++n) {
        if (floats[n] != Py_None && !numbers[n]) return false;  // nothing in it
    }
    if (!numbers[0] || !truths[0] || (flags[1] != Py_None && !truths[1])) return false;
    const auto number = [&](int n) { return static_cast<float*>(numbers[n]); };
    const auto truth = [&](int n) { return static_cast<const bool*>(truths[n]); };
    const Rows<float> rows{number(0), number(1), number(4), nullptr, truth(0), truth(1), number(2), number(3), 1.0, 1.0};
    const Layout layout{std::size_t(shape.shape[0]), std::size_t(shape.shape[1]), nullptr, nullptr, nullptr,
                        PyFloat_AS_DOUBLE(gamma), PyFloat_AS_DOUBLE(lam)};
    static const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(""));
    if (layout.tokens() < 4096) {  // less than what letting go of Python costs
        run(rows, layout, 1, best.scan);
    } else {
        const std::size_t threads = PyLong_AsSize_t(given[9]);
        const py::gil_scoped_release released;
        run(rows, layout, threads, best.scan);
    }
    return true;
}

}  // namespace

// Arguments are positional, for naming them takes longer than short rows do; rlaif_kernels/native/scans.py passes them.
void register_scans(py::module_& module) {
    bind<float>(module, "scan_f32");
    bind<double>(module, "scan_f64");
    define_quick<at_once, 10>(module, "gae_at_once");
}

}  // namespace rlaif::scans
