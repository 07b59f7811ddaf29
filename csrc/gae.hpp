// Generalised advantage estimation over ragged rows; the meaning stands in kernels/rlaif_kernels/reference.py.
#pragma once

#include <cstddef>

#include <pybind11/pybind11.h>

namespace rlaif {

// Rows are [rows, steps], row-major. A null `dones` means only a row's last unmasked token ends an episode; a null
// `next_values` means that nothing follows an end. Off the mask nothing is read but the mask, and 0 is written.
template <typename Real>
void gae(const Real* rewards, const Real* values, const bool* mask, const bool* dones, const Real* next_values,
         Real* advantages, Real* returns, std::size_t rows, std::size_t steps, double gamma, double lam);

void register_gae(pybind11::module_& module);

}  // namespace rlaif
