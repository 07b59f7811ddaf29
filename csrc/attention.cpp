// The Python side of attention.hpp.
#include "attention.hpp"
#include "team.hpp"
#include "variants.hpp"

#include <cstdint>
#include <string>

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace rlaif::attention {

RLAIF_DECLARE_VARIANTS(Variant)

void register_attention(py::module_& module) {
    // columns [samples, parts, keys] is added to: with one part, by all heads of a sample, else by each head apart.
    module.def("attention_add", [](std::uintptr_t scores, std::size_t samples, std::size_t heads, std::size_t queries,
                                   std::size_t keys, std::uintptr_t mask, std::uintptr_t weights, double scale, double cap,
                                   bool causal, std::size_t window, std::size_t parts, std::uintptr_t columns,
                                   std::size_t threads, const std::string& variant) {
        const Map map{reinterpret_cast<float*>(scores), samples, heads, queries, keys,
                      reinterpret_cast<const bool*>(mask), reinterpret_cast<const float*>(weights),
                      scale, cap, causal, window};
        const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
        const py::gil_scoped_release released;
        const std::size_t sums = samples * parts, together = heads / std::max<std::size_t>(parts, 1);
        const float share = 1.0f / float(heads);
        Team team(samples * heads * queries * keys < alone ? 1 : std::min(threads, sums));
        team.run([&](std::size_t number, std::size_t of) {
            for (std::size_t column = sums * number / of; column < sums * (number + 1) / of; ++column) {
                float* into = reinterpret_cast<float*>(columns) + column * keys;
                for (std::size_t at = column * together; at < (column + 1) * together; ++at) {
                    best.add(map, at / heads, at % heads, share, into);
                }
            }
        });
    });
}

}  // namespace rlaif::attention
