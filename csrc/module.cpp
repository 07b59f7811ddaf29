// The CPU module: addresses and sizes in, nothing of torch. Each topic registers its own functions.
#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "team.hpp"
#include "variants.hpp"
#include "views.hpp"

#define RLAIF_TEXT_OF(x) #x
#define RLAIF_TEXT(x) RLAIF_TEXT_OF(x)

// The headers of these know nothing of Python.
namespace rlaif::attention {
void register_attention(pybind11::module_& module);
}
namespace rlaif::decode {
void register_decode(pybind11::module_& module);
}
namespace rlaif::kept {
void register_kept(pybind11::module_& module);
}
namespace rlaif::logprobs {
void register_logprobs(pybind11::module_& module);
}
namespace rlaif::policy {
void register_policy(pybind11::module_& module);
}
namespace rlaif::product {
void register_product(pybind11::module_& module);
}
namespace rlaif::scans {
void register_scans(pybind11::module_& module);
}
namespace rlaif::whiten {
void register_whiten(pybind11::module_& module);
}

namespace {

namespace py = pybind11;

// How many there are of the threads asked for, of which the one of this number fails.
std::size_t members(std::size_t asked, std::optional<std::size_t> failing) {
    std::atomic<std::size_t> seen{0};
    rlaif::Team(asked).run([&](std::size_t number, std::size_t) {
        ++seen;
        if (number == failing) throw std::runtime_error("member " + std::to_string(number) + " was asked to fail");
    });
    return seen;
}

py::dict build_info() {
    py::dict info;
    info["compiler"] = RLAIF_COMPILER;
    info["standard"] = "C++" + std::to_string(__cplusplus / 100 % 100);
    info["build"] = RLAIF_BUILD_TYPE;
    info["pybind11"] = "pybind11 " RLAIF_TEXT(PYBIND11_VERSION_MAJOR) "." RLAIF_TEXT(PYBIND11_VERSION_MINOR);
    info["target"] = RLAIF_TARGET;
    info["instructions"] = rlaif::variants().front();
    info["threads"] = rlaif::Team(2).size() == 2 ? "torch's threads" : "one thread, for torch's OpenMP was not found";
    return info;
}

// Large pages for memory that nobody has written to yet; no more than a wish, which a system may not know.
void ask_large_pages(std::uintptr_t begin, std::size_t bytes) {
#ifdef MADV_HUGEPAGE
    const std::uintptr_t page = std::uintptr_t(sysconf(_SC_PAGESIZE));
    const std::uintptr_t first = (begin + page - 1) / page * page, end = (begin + bytes) / page * page;
    if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#else
    static_cast<void>(begin), static_cast<void>(bytes);
#endif
}

}  // namespace

PYBIND11_MODULE(_native, module) {
    module.doc() = "Compiled CPU kernels; the modules of rlaif_kernels that call them check what they pass.";
    rlaif::OpenMp::watch();
    module.def("build_info", &build_info);
    module.def("variants", &rlaif::variants);
    module.def("learn_tensors", [](const py::capsule& exchange, const py::type& tensor, const py::type& parameter,
                                   py::function empty_like, py::function threads) {
        rlaif::views.learn(exchange, tensor, parameter, std::move(empty_like), std::move(threads));
        return rlaif::views.ready();
    });
    module.def("ask_large_pages", &ask_large_pages);
    module.def("members", &members, py::arg("asked"), py::arg("failing") = py::none(),
               py::call_guard<py::gil_scoped_release>());
    rlaif::attention::register_attention(module);
    rlaif::decode::register_decode(module);
    rlaif::kept::register_kept(module);
    rlaif::logprobs::register_logprobs(module);
    rlaif::policy::register_policy(module);
    rlaif::product::register_product(module);
    rlaif::scans::register_scans(module);
    rlaif::whiten::register_whiten(module);
}
