// The CUDA module: addresses and sizes in, nothing of torch. Importing it touches no device.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "kernels.hpp"

#define RLAIF_TEXT_OF(x) #x
#define RLAIF_TEXT(x) RLAIF_TEXT_OF(x)

namespace {

namespace py = pybind11;
using namespace rlaif::cuda;
using Address = std::uintptr_t;

template <typename T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

py::dict build_info() {
    py::dict info;
    info["compiler"] = RLAIF_NVCC;
    info["architectures"] = RLAIF_ARCHITECTURES;
    info["host"] = RLAIF_COMPILER;
    info["pybind11"] = "pybind11 " RLAIF_TEXT(PYBIND11_VERSION_MAJOR) "." RLAIF_TEXT(PYBIND11_VERSION_MINOR);
    return info;
}

// What rows.py asks, as Python passes it: (targets, ignored, temperatures, temperature, scale, cap).
using AskedGiven = std::tuple<Address, std::int64_t, Address, float, float, float>;
using LayoutGiven = std::tuple<Size, Size, Size>;
// (dtype, data, layout, rows, width, first)
using LogitsGiven = std::tuple<int, Address, LayoutGiven, Size, Size, Size>;
using SaidGiven = std::tuple<Address, Address, Address, Address>;
using QueueGiven = std::tuple<int, Address>;

Queue queue_of(const QueueGiven& given) { return {std::get<0>(given), std::get<1>(given)}; }

Asked asked_of(const AskedGiven& given) {
    const auto [targets, ignored, temperatures, temperature, scale, cap] = given;
    return {at<const std::int64_t>(targets), ignored, at<const float>(temperatures), temperature, scale, cap};
}

Layout layout_of(const LayoutGiven& given) { return {std::get<0>(given), std::get<1>(given), std::get<2>(given)}; }

Logits logits_of(const LogitsGiven& given) {
    const auto [number, data, layout, rows, width, first] = given;
    return {Number(number), at<const void>(data), layout_of(layout), rows, width, first};
}

Said said_of(const SaidGiven& given) {
    const auto [logp, entropy, largest, logsum] = given;
    return {at<float>(logp), at<float>(entropy), at<float>(largest), at<float>(logsum)};
}

void bind_rows(py::module_& module) {
    module.def(
        "fold",
        [](const QueueGiven& queue, const LogitsGiven& logits, const AskedGiven& asked, Address state, bool fresh,
           const SaidGiven& said, Address parts) {
            fold(queue_of(queue), logits_of(logits), asked_of(asked), at<float>(state), fresh, said_of(said),
                 at<float>(parts));
        },
        py::arg("queue"), py::arg("logits"), py::arg("asked"), py::arg("state"), py::arg("fresh"), py::arg("said"),
        py::arg("parts"));
    module.def(
        "finish",
        [](const QueueGiven& queue, Size rows, const AskedGiven& asked, Address state, const SaidGiven& said) {
            finish(queue_of(queue), rows, asked_of(asked), at<const float>(state), said_of(said));
        },
        py::arg("queue"), py::arg("rows"), py::arg("asked"), py::arg("state"), py::arg("said"));
    module.def(
        "descend",
        [](const QueueGiven& queue, const LogitsGiven& logits, const AskedGiven& asked, const SaidGiven& said,
           Address of_logp, Address of_entropy, Address out, const LayoutGiven& out_layout) {
            descend(queue_of(queue), logits_of(logits), asked_of(asked), said_of(said), at<const float>(of_logp),
                    at<const float>(of_entropy), at<void>(out), layout_of(out_layout));
        },
        py::arg("queue"), py::arg("logits"), py::arg("asked"), py::arg("said"), py::arg("of_logp"),
        py::arg("of_entropy"), py::arg("out"), py::arg("out_layout"));
    module.attr("COLUMNS") = COLUMNS;
}

// (dtype, data, stride, height, width)
using TableGiven = std::tuple<int, Address, Size, Size, Size>;

Table table_of(const TableGiven& given) {
    const auto [number, data, stride, height, width] = given;
    return {Number(number), at<const void>(data), stride, height, width};
}

void bind_sparse(py::module_& module) {
    module.def(
        "sampled_product",
        [](const QueueGiven& queue, const TableGiven& left, const TableGiven& right, Size many, Address ids,
           Address out) {
            sampled_product(queue_of(queue), table_of(left), table_of(right), many, at<const std::int64_t>(ids),
                            at<float>(out));
        },
        py::arg("queue"), py::arg("left"), py::arg("right"), py::arg("many"), py::arg("ids"), py::arg("out"));
    module.def(
        "sparse_product",
        [](const QueueGiven& queue, Size rows, Address bounds, Address columns, Address factors,
           const TableGiven& table, Address out) {
            const Sparse sparse{rows, at<const std::int64_t>(bounds), at<const std::int64_t>(columns),
                                at<const float>(factors)};
            sparse_product(queue_of(queue), sparse, table_of(table), at<void>(out));
        },
        py::arg("queue"), py::arg("rows"), py::arg("bounds"), py::arg("columns"), py::arg("factors"),
        py::arg("table"), py::arg("out"));
}

template <typename Real>
void bind_scans_and_whitening(py::module_& module, const std::string& suffix) {
    module.def(
        ("scan_" + suffix).c_str(),
        [](const QueueGiven& queue, Size rows, Size steps, Address offsets, Address log_ratios, Address rewards,
           Address values, Address after, Address mask, Address dones, Address gammas, Address lams, Real gamma,
           Real lam, Real rho_clip, Real trace_clip, Address advantages, Address targets, int threads, Address room) {
            const Scan<Real> its{rows,
                                 steps,
                                 at<const std::int64_t>(offsets),
                                 at<const Real>(log_ratios),
                                 at<const Real>(rewards),
                                 at<const Real>(values),
                                 at<const Real>(after),
                                 at<const bool>(mask),
                                 at<const bool>(dones),
                                 at<const Real>(gammas),
                                 at<const Real>(lams),
                                 gamma,
                                 lam,
                                 rho_clip,
                                 trace_clip,
                                 at<Real>(advantages),
                                 at<Real>(targets)};
            scan(queue_of(queue), its, threads, at<Real>(room));
        },
        py::arg("queue"), py::arg("rows"), py::arg("steps"), py::arg("offsets"), py::arg("log_ratios"),
        py::arg("rewards"), py::arg("values"), py::arg("after"), py::arg("mask"), py::arg("dones"), py::arg("gammas"),
        py::arg("lams"), py::arg("gamma"), py::arg("lam"), py::arg("rho_clip"), py::arg("trace_clip"),
        py::arg("advantages"), py::arg("targets"), py::arg("threads"), py::arg("room"));
    module.def(
        ("whiten_" + suffix).c_str(),
        [](const QueueGiven& queue, Size count, Address x, Address mask, double eps, Address parts, Address stats,
           Address out) {
            whiten(queue_of(queue), count, at<const Real>(x), at<const bool>(mask), eps, at<double>(parts),
                   at<Real>(stats), at<Real>(out));
        },
        py::arg("queue"), py::arg("count"), py::arg("x"), py::arg("mask"), py::arg("eps"), py::arg("parts"),
        py::arg("stats"), py::arg("out"));
}

template <typename Real>
void bind_policy_loss(py::module_& module, const std::string& suffix) {
    module.def(
        ("policy_loss_" + suffix).c_str(),
        [](const QueueGiven& queue, Size rows, Size steps, Address logp, Address old_logp, Address advantages,
           Address mask, Address reference, Address entropy, Address correction, Address weights, bool cispo,
           bool sequence, Real least, Real most, Real dual, Real kl, Real entropy_weight, int kl_value, int kl_gradient,
           int share, double length, Address slopes, Address entropy_slopes, Address sums, Address loss,
           Address factor, Address metrics) {
            const Policy<Real> its{rows,
                                   steps,
                                   at<const Real>(logp),
                                   at<const Real>(old_logp),
                                   at<const Real>(advantages),
                                   at<const bool>(mask),
                                   at<const Real>(reference),
                                   at<const Real>(entropy),
                                   at<const Real>(correction),
                                   at<const Real>(weights),
                                   cispo,
                                   sequence,
                                   least,
                                   most,
                                   dual,
                                   kl,
                                   entropy_weight,
                                   Estimator(kl_value),
                                   Estimator(kl_gradient),
                                   Share(share),
                                   length,
                                   at<Real>(slopes),
                                   at<Real>(entropy_slopes),
                                   at<double>(sums),
                                   at<Real>(loss),
                                   at<Real>(factor),
                                   at<Real>(metrics)};
            policy_loss(queue_of(queue), its);
        },
        py::arg("queue"), py::arg("rows"), py::arg("steps"), py::arg("logp"), py::arg("old_logp"),
        py::arg("advantages"), py::arg("mask"), py::arg("reference"), py::arg("entropy"), py::arg("correction"),
        py::arg("weights"), py::arg("cispo"), py::arg("sequence"), py::arg("least"), py::arg("most"), py::arg("dual"),
        py::arg("kl"), py::arg("entropy_weight"), py::arg("kl_value"), py::arg("kl_gradient"), py::arg("share"),
        py::arg("length"), py::arg("slopes"), py::arg("entropy_slopes"), py::arg("sums"), py::arg("loss"),
        py::arg("factor"), py::arg("metrics"));
}

template <typename Real>
void bind(py::module_& module, const std::string& suffix) {
    bind_scans_and_whitening<Real>(module, suffix);
    bind_policy_loss<Real>(module, suffix);
}

}  // namespace

PYBIND11_MODULE(_native_cuda, module) {
    module.doc() = "Compiled CUDA kernels; the modules of rlaif_kernels.cuda that call them check what they pass.";
    module.def("build_info", &build_info);
    bind_rows(module);
    bind_sparse(module);
    bind<float>(module, "f32");
    bind<double>(module, "f64");
    module.attr("ITEMS") = ITEMS<float>;
    module.attr("LINK") = LINK;
    module.attr("SUMS") = SUMS;
    module.attr("TILE") = TILE;
}
