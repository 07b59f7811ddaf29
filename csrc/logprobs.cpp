// The Python side of logprobs.hpp.
#include "logprobs.hpp"
#include "team.hpp"
#include "variants.hpp"

#include <cstdint>
#include <string>

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace rlaif::logprobs {

RLAIF_DECLARE_VARIANTS(Variant)

namespace {

using Address = std::uintptr_t;

template <typename T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

Rows rows_of(Address logits, std::size_t stride, std::size_t rows, std::size_t vocabulary, Address targets,
             std::int64_t ignored, Address temperatures, double temperature, double scale, double cap) {
    return {pointer<const float>(logits), stride, rows, vocabulary, pointer<const std::int64_t>(targets), ignored,
            pointer<const float>(temperatures), float(temperature), float(scale), float(cap)};
}

Results results_of(Address logprobs, Address entropies, Address largest, Address logsums) {
    return {pointer<float>(logprobs), pointer<float>(entropies), pointer<float>(largest), pointer<float>(logsums)};
}

// Share the rows out; a few logits are not worth waking threads for.
template <typename Work>
void by_rows(const Rows& its, std::size_t threads, Work work) {
    Team team(its.rows * its.vocabulary < 32768 ? 1 : std::min(threads, its.rows));
    team.run([&](std::size_t number, std::size_t of) {
        work(its.rows * number / of, its.rows * (number + 1) / of);
    });
}

}  // namespace

void register_logprobs(py::module_& module) {
    using namespace py::literals;
    module.def(
        "logprobs_forward",
        [](Address logits, std::size_t stride, std::size_t rows, std::size_t vocabulary, Address targets,
           std::int64_t ignored, Address temperatures, double temperature, double scale, double cap, Address logprobs,
           Address entropies, Address largest, Address logsums, std::size_t threads, const std::string& variant) {
            const py::gil_scoped_release released;
            const Rows its = rows_of(logits, stride, rows, vocabulary, targets, ignored, temperatures, temperature, scale, cap);
            const Results results = results_of(logprobs, entropies, largest, logsums);
            const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
            by_rows(its, threads, [&](std::size_t first, std::size_t end) { best.forward(its, results, first, end); });
        },
        py::kw_only(), "logits"_a, "stride"_a, "rows"_a, "vocabulary"_a, "targets"_a, "ignored"_a, "temperatures"_a,
        "temperature"_a, "scale"_a, "cap"_a, "logprobs"_a, "entropies"_a, "largest"_a, "logsums"_a, "threads"_a, "variant"_a = "");
    module.def(
        "logprobs_backward",
        [](Address logits, std::size_t stride, std::size_t rows, std::size_t vocabulary, Address targets,
           std::int64_t ignored, Address temperatures, double temperature, double scale, double cap, Address entropies,
           Address largest, Address logsums, Address of_logprobs, Address of_entropies, Address gradient,
           std::size_t threads, const std::string& variant) {
            const py::gil_scoped_release released;
            const Rows its = rows_of(logits, stride, rows, vocabulary, targets, ignored, temperatures, temperature, scale, cap);
            const Results results = results_of(0, entropies, largest, logsums);
            const Slopes slopes{pointer<const float>(of_logprobs), pointer<const float>(of_entropies),
                                pointer<float>(gradient)};
            const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
            by_rows(its, threads,
                    [&](std::size_t first, std::size_t end) { best.backward(its, results, slopes, first, end); });
        },
        py::kw_only(), "logits"_a, "stride"_a, "rows"_a, "vocabulary"_a, "targets"_a, "ignored"_a, "temperatures"_a,
        "temperature"_a, "scale"_a, "cap"_a, "entropies"_a, "largest"_a, "logsums"_a, "of_logprobs"_a, "of_entropies"_a,
        "gradient"_a, "threads"_a, "variant"_a = "");
}

}  // namespace rlaif::logprobs
