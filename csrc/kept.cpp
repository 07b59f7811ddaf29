// The Python side of kept.hpp.
#include "kept.hpp"
#include "team.hpp"
#include "variants.hpp"

#include <cstdint>
#include <string>

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace rlaif::kept {

RLAIF_DECLARE_VARIANTS(Variant)

namespace {

using Address = std::uintptr_t;

template <typename T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

Choice choice_of(Address hidden, Address weight, int kind, std::size_t rows, std::size_t width, std::size_t many, Address ids) {
    return {pointer<const void>(hidden), pointer<const void>(weight), Kind(kind), rows, width, many,
            pointer<const std::int64_t>(ids)};
}

std::size_t worth(const Choice& its, std::size_t threads) {
    return its.rows * its.many * its.width < 4 * alone ? 1 : std::min(threads, its.rows);
}

}  // namespace

void register_kept(py::module_& module) {
    module.def("kept_products", [](Address hidden, Address weight, int kind, std::size_t rows, std::size_t width,
                                   std::size_t many, Address ids, Address products, std::size_t threads,
                                   const std::string& variant) {
        const Choice its = choice_of(hidden, weight, kind, rows, width, many, ids);
        const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
        const py::gil_scoped_release released;
        Team team(worth(its, threads));
        team.run([&](std::size_t number, std::size_t of) {
            best.products(its, rows * number / of, rows * (number + 1) / of, pointer<float>(products));
        });
    });
    // Either gradient may be null; of_weight [vocabulary, width] is added to.
    module.def("kept_descend", [](Address hidden, Address weight, int kind, std::size_t rows, std::size_t width,
                                  std::size_t many, Address ids, Address slopes, Address of_hidden, Address of_weight,
                                  std::size_t threads, const std::string& variant) {
        const Choice its = choice_of(hidden, weight, kind, rows, width, many, ids);
        const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
        const py::gil_scoped_release released;
        const float* given = pointer<const float>(slopes);
        Team team(worth(its, threads));
        team.run([&](std::size_t number, std::size_t of) {
            if (of_hidden) {
                best.of_hidden(its, given, rows * number / of, rows * (number + 1) / of, pointer<float>(of_hidden));
            }
            if (of_weight) best.of_weight(its, given, number, of, pointer<float>(of_weight));
        });
    });
}

}  // namespace rlaif::kept
