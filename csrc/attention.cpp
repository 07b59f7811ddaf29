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
    // columns [samples, heads, keys] is added to.
    module.def("attention_add", [](std::uintptr_t scores, std::size_t samples, std::size_t heads, std::size_t queries,
                                   std::size_t keys, std::uintptr_t mask, std::uintptr_t weights, double scale, double cap,
                                   bool causal, std::size_t window, std::uintptr_t columns, std::size_t threads,
                                   const std::string& variant) {
        const Map map{reinterpret_cast<float*>(scores), samples, heads, queries, keys,
                      reinterpret_cast<const bool*>(mask), reinterpret_cast<const float*>(weights),
                      scale, cap, causal, window};
        const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
        const py::gil_scoped_release released;
        const std::size_t all = samples * heads;
        Team team(all * queries * keys < alone ? 1 : std::min(threads, all));
        team.run([&](std::size_t number, std::size_t of) {
            for (std::size_t at = all * number / of; at < all * (number + 1) / of; ++at) {
                best.add(map, at / heads, at % heads, reinterpret_cast<float*>(columns) + at * keys);
            }
        });
    });
}

}  // namespace rlaif::attention
