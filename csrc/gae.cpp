#include "gae.hpp"

#include <cstdint>

namespace py = pybind11;

namespace rlaif {

template <typename Real>
void gae(const Real* rewards, const Real* values, const bool* mask, const bool* dones, const Real* next_values,
         Real* advantages, Real* returns, std::size_t rows, std::size_t steps, double gamma, double lam) {
    for (std::size_t row = 0; row < rows; ++row) {
        bool last = true;  // no unmasked token has been met yet: the next one ends the row
        double carry = 0.0, following = 0.0;
        for (std::size_t at = (row + 1) * steps; at-- > row * steps;) {
            if (!mask[at]) {
                advantages[at] = returns[at] = Real(0);
                continue;
            }
            if (last || (dones && dones[at])) {
                carry = 0.0;
                following = next_values ? double(next_values[at]) : 0.0;
                last = false;
            }
            const double value = double(values[at]);
            carry = double(rewards[at]) + gamma * following - value + gamma * lam * carry;
            following = value;
            advantages[at] = Real(carry);
            returns[at] = Real(carry + value);
        }
    }
}

namespace {

template <typename T>
T* pointer(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

template <typename Real>
void bind(py::module_& module, const char* name) {
    module.def(
        name,
        [](std::uintptr_t rewards, std::uintptr_t values, std::uintptr_t mask, std::uintptr_t dones,
           std::uintptr_t next_values, std::uintptr_t advantages, std::uintptr_t returns, std::size_t rows,
           std::size_t steps, double gamma, double lam) {
            const py::gil_scoped_release released;
            gae(pointer<const Real>(rewards), pointer<const Real>(values), pointer<const bool>(mask),
                pointer<const bool>(dones), pointer<const Real>(next_values), pointer<Real>(advantages),
                pointer<Real>(returns), rows, steps, gamma, lam);
        },
        py::arg("rewards"), py::arg("values"), py::arg("mask"), py::arg("dones"), py::arg("next_values"),
        py::arg("advantages"), py::arg("returns"), py::arg("rows"), py::arg("steps"), py::arg("gamma"),
        py::arg("lam"));
}

}  // namespace

void register_gae(py::module_& module) {
    bind<float>(module, "gae_f32");
    bind<double>(module, "gae_f64");
}

}  // namespace rlaif
