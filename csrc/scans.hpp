// Sums over what follows a token: generalised advantages, returns and V-trace; rlaif_kernels/reference/scans.py defines
// them. scans_rows.cpp computes, once for each of the variants in variants.hpp; scans.cpp shares out the rows.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rlaif::scans {

// B rows one after the other; where `mask` is false nothing else is read, and 0 is written.
template <typename Real>
struct Rows {
    const Real *rewards, *values, *next_values, *log_ratios;  // all but rewards may be null; values then are 0
    const bool *mask, *dones;                                 // dones may be null
    // Written: advantages and returns, or with log-ratios V-trace's targets and advantages; null for what is not wanted.
    Real *first, *second;
    double rho_clip, trace_clip;
};

// One of them: where it begins and ends, and its constants.
struct Row {
    std::size_t begin, end;
    double gamma, lam;
};

struct Variant {
    void (*scan)(const Rows<float>& rows, const Row& row);
};

}  // namespace rlaif::scans
