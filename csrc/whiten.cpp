// The Python side of whiten.hpp.
#include "whiten.hpp"
#include "team.hpp"
#include "variants.hpp"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace rlaif::whiten {

RLAIF_DECLARE_VARIANTS(Variant)

namespace {

constexpr std::size_t tile = 16384;  // always the same, so that sums do not depend on the number of threads

// Writes the whitened numbers, and by what they were multiplied.
void whiten(const float* x, const bool* mask, std::size_t count, double eps, float* out, float* multiplied,
            std::size_t threads, const Variant& best) {
    const std::size_t tiles = (count + tile - 1) / tile;
    std::vector<Moments> parts(tiles);
    Team team(count < alone ? 1 : std::min(threads, tiles));
    const auto by_tiles = [&](auto work) {
        team.run([&](std::size_t number, std::size_t of) {
            for (std::size_t at = tiles * number / of; at < tiles * (number + 1) / of; ++at) {
                work(at, at * tile, std::min(tile, count - at * tile));
            }
        });
    };
    const auto moments_about = [&](double shift) {
        by_tiles([&](std::size_t part, std::size_t from, std::size_t size) {
            parts[part] = best.moments(x + from, mask + from, size, shift);
        });
        Moments all{};
        for (const Moments& part : parts) all.count += part.count, all.sum += part.sum, all.squares += part.squares;
        return all;
    };
    // First about something near, then about what that says the mean is.
    double shift = 0.0;
    for (std::size_t at = 0; at < count; ++at) {
        if (mask[at]) {
            shift = double(x[at]);
            break;
        }
    }
    const Moments first = moments_about(shift);
    const double many = first.count > 0.0 ? first.count : 1.0, mean = shift + first.sum / many;
    const Moments second = moments_about(mean);
    const double off = second.sum / many, variance = second.squares / many - off * off;
    const double factor = 1.0 / std::sqrt((variance > 0.0 || variance != variance ? variance : 0.0) + eps);
    *multiplied = float(factor);
    by_tiles([&](std::size_t, std::size_t from, std::size_t size) {
        best.apply(x + from, mask + from, size, mean + off, factor, out + from);
    });
}

}  // namespace

void register_whiten(py::module_& module) {
    module.def("whiten", [](std::uintptr_t x, std::uintptr_t mask, std::size_t count, double eps, std::uintptr_t out,
                            std::uintptr_t factor, std::size_t threads, const std::string& variant) {
        const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
        const py::gil_scoped_release released;
        whiten(reinterpret_cast<const float*>(x), reinterpret_cast<const bool*>(mask), count, eps,
               reinterpret_cast<float*>(out), reinterpret_cast<float*>(factor), threads, best);
    });
}

}  // namespace rlaif::whiten
