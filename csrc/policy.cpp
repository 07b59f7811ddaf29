// The Python side of policy.hpp.
#include "policy.hpp"
#include "team.hpp"
#include "variants.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace rlaif::policy {

RLAIF_DECLARE_VARIANTS(Variant)

namespace {

using Address = std::uintptr_t;

template <typename T>
T* pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

// What each row's tokens weigh; reference/losses.py says why.
std::vector<float> shares_of(const Batch& batch, Aggregation aggregation, double length) {
    std::vector<std::size_t> counts(batch.rows);
    std::size_t tokens = 0, answers = 0;
    for (std::size_t row = 0; row < batch.rows; ++row) {
        const auto* flags = reinterpret_cast<const std::uint8_t*>(batch.mask + row * batch.steps);
        std::size_t count = 0;
        for (std::size_t at = 0; at < batch.steps; ++at) count += flags[at];
        counts[row] = count, tokens += count, answers += count > 0;
    }
    std::vector<float> shares(batch.rows);
    for (std::size_t row = 0; row < batch.rows; ++row) {
        const double answer = 1.0 / double(std::max<std::size_t>(answers, 1));
        shares[row] = float(aggregation == Aggregation::token_mean      ? 1.0 / double(std::max<std::size_t>(tokens, 1))
                            : aggregation == Aggregation::sequence_mean ? answer / double(std::max<std::size_t>(counts[row], 1))
                            : aggregation == Aggregation::constant      ? answer / length
                                                                        : answer);
    }
    return shares;
}

// The loss and the metrics, as reference/losses.py orders them, into 1 + 8 floats; summed in the order of the rows.
void run(const Batch& batch, const Variant& best, std::size_t threads, float* out) {
    std::vector<Sums> rows(batch.rows);
    Team team(8 * batch.rows * batch.steps < alone ? 1 : std::min(threads, batch.rows));
    team.run([&](std::size_t number, std::size_t of) {
        for (std::size_t row = batch.rows * number / of; row < batch.rows * (number + 1) / of; ++row) {
            rows[row] = best.row(batch, row);
        }
    });
    Sums all{};
    for (const Sums& row : rows) {
        all.loss += row.loss, all.below += row.below, all.above += row.above, all.floored += row.floored;
        all.ratio += row.ratio, all.drift += row.drift, all.entropy += row.entropy, all.distance += row.distance;
        all.tokens += row.tokens, all.most = row.most > all.most ? row.most : all.most;
    }
    if (all.ratio != all.ratio) all.most = all.ratio;  // NaN, which no comparison finds
    const double count = all.tokens > 0.0 ? all.tokens : 1.0;
    const double said[] = {all.loss,           all.below / count, all.above / count,   all.floored / count, all.ratio / count,
                           all.most,           all.drift / count, all.entropy / count, all.distance / count};
    for (double each : said) *out++ = float(each);
}

}  // namespace

void register_policy(py::module_& module) {
    using namespace py::literals;
    module.def(
        "policy_loss",
        [](std::size_t rows, std::size_t steps, Address logp, Address old, Address advantages, Address mask, Address weights,
           int aggregation, double length,
           Address reference, Address entropy, Address correction, bool constant_ratio, bool sequence, double least,
           double most, double dual, double kl, double entropy_weight, int kl_value, int kl_gradient, Address of_logp,
           Address of_entropy, Address out, std::size_t threads, const std::string& variant) {
            Batch batch{rows, steps, pointer<const float>(logp), pointer<const float>(old),
                              pointer<const float>(advantages), pointer<const float>(weights), nullptr, pointer<const bool>(mask),
                              pointer<const float>(reference), pointer<const float>(entropy),
                              pointer<const float>(correction), constant_ratio, sequence, float(least), float(most),
                              float(dual), float(kl), float(entropy_weight), Estimator(kl_value), Estimator(kl_gradient),
                              pointer<float>(of_logp), pointer<float>(of_entropy)};
            const Variant& best = RLAIF_CHOOSE_VARIANT(variant_name(variant));
            const py::gil_scoped_release released;
            std::vector<float> shares;
            if (!weights) shares = shares_of(batch, Aggregation(aggregation), length);
            batch.shares = shares.data();
            run(batch, best, threads, pointer<float>(out));
        });
}

}  // namespace rlaif::policy
