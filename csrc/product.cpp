// The Python side of product.hpp.
#include "product.hpp"
#include "team.hpp"

#include <cstdint>
#include <memory>
#include <stdexcept>

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace rlaif::product {
namespace {

using Address = std::uintptr_t;

template <typename T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

#ifdef RLAIF_PRODUCT
bool able() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16");
}

void compute(const Product& its, std::size_t threads) {
    const std::unique_ptr<std::int32_t[]> x(new std::int32_t[arranged(its)]);
    Team team(its.rows * its.columns * its.width < 32 * alone ? 1 : std::min(threads, panels(its)));
    const std::unique_ptr<std::int32_t[]> scratch(new std::int32_t[team.size() * room]);
    team.run([&](std::size_t number, std::size_t of) {
        arrange(its, tiles(its) * number / of, tiles(its) * (number + 1) / of, x.get());
        team.wait(of);
        multiply(its, x.get(), panels(its) * number / of, panels(its) * (number + 1) / of, scratch.get() + number * room);
    });
}
#else
bool able() { return false; }
void compute(const Product&, std::size_t) {}
#endif

}  // namespace

void register_product(py::module_& module) {
    // Whether this processor has the instruction; nobody may ask for the product where it has not.
    module.def("product_able", &able);
    module.def("product", [](Address x, std::size_t x_across, std::size_t x_along, Address weight, std::size_t across,
                             std::size_t along, Address bias, bool onto, std::size_t rows, std::size_t width,
                             std::size_t columns, Address out, std::size_t out_step, bool narrow, std::size_t threads) {
        const Product its{{pointer<const std::uint16_t>(x), x_across, x_along},
                          {pointer<const std::uint16_t>(weight), across, along},
                          pointer<const float>(bias), onto, rows, width, columns, pointer<void>(out), out_step, narrow};
        if (narrow && (onto || pairs(its) > depth)) throw std::invalid_argument("sums of a wide product are not rounded");
        const py::gil_scoped_release released;
        compute(its, threads);
    });
}

}  // namespace rlaif::product
