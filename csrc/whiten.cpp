// The Python side of whiten.hpp.
#include "whiten.hpp"
#include "team.hpp"
#include "variants.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <unordered_map>
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

// What is known of a group's unmasked numbers. All is reckoned from the lowest, so that equal numbers differ by exactly 0.
struct Group {
    double lowest, size = 0.0, sum = 0.0, squares = 0.0, spread = 0.0;
};

void group_normalise(const float* x, const std::int64_t* names, const bool* mask, std::size_t count, bool divide,
                     bool unbiased, double noise, float* out) {
    std::unordered_map<std::int64_t, std::size_t> places;
    std::vector<Group> groups;
    std::vector<std::size_t> place(count);
    for (std::size_t at = 0; at < count; ++at) {
        const bool again = at > 0 && names[at] == names[at - 1];  // members mostly lie together
        place[at] = again ? place[at - 1] : places.try_emplace(names[at], places.size()).first->second;
        if (place[at] == groups.size()) groups.push_back({std::numeric_limits<double>::infinity()});
    }
    const auto of_each = [&](auto work) {
        for (std::size_t at = 0; at < count; ++at) {
            if (mask[at]) work(double(x[at]), groups[place[at]]);
        }
    };
    of_each([](double number, Group& its) { its.lowest = std::min(its.lowest, number); });
    of_each([](double number, Group& its) {
        its.size += 1.0, its.sum += number - its.lowest, its.squares += number * number;
    });
    of_each([](double number, Group& its) {
        const double centred = number - its.lowest - its.sum / its.size;
        its.spread += centred * centred;
    });
    for (std::size_t at = 0; at < count; ++at) {
        out[at] = 0.0f;
        if (!mask[at]) continue;
        const Group& its = groups[place[at]];
        const double variance = its.spread / std::max(its.size - (unbiased ? 1.0 : 0.0), 1.0);
        if (variance <= noise * noise * its.squares / its.size) continue;  // not where there is a NaN
        out[at] = float((double(x[at]) - its.lowest - its.sum / its.size) / (divide ? std::sqrt(variance) : 1.0));
    }
}

}  // namespace

void register_whiten(py::module_& module) {
    module.def("group_normalise", [](std::uintptr_t x, std::uintptr_t names, std::uintptr_t mask, std::size_t count,
                                     bool divide, bool unbiased, double noise, std::uintptr_t out) {
        const py::gil_scoped_release released;
        group_normalise(reinterpret_cast<const float*>(x), reinterpret_cast<const std::int64_t*>(names),
                        reinterpret_cast<const bool*>(mask), count, divide, unbiased, noise, reinterpret_cast<float*>(out));
    });
    module.def("whiten", [](std::uintptr_t x, std::uintptr_t mask, std::size_t count, double eps, std::uintptr_t out,
                            std::uintptr_t factor, std::size_t threads, const std::string& variant) {
        const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
        const py::gil_scoped_release released;
        whiten(reinterpret_cast<const float*>(x), reinterpret_cast<const bool*>(mask), count, eps,
               reinterpret_cast<float*>(out), reinterpret_cast<float*>(factor), threads, best);
    });
}

}  // namespace rlaif::whiten
