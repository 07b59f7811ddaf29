// The CPU module: addresses and sizes in, nothing of torch. Each topic registers its own functions.
#include <string>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "gae.hpp"
#include "variants.hpp"

#define RLAIF_TEXT_OF(x) #x
#define RLAIF_TEXT(x) RLAIF_TEXT_OF(x)

// The headers of these know nothing of Python.
namespace rlaif::decode {
void register_decode(pybind11::module_& module);
}
namespace rlaif::logprobs {
void register_logprobs(pybind11::module_& module);
}

namespace {

namespace py = pybind11;

py::dict build_info() {
    py::dict info;
    info["compiler"] = RLAIF_COMPILER;
    info["standard"] = "C++" + std::to_string(__cplusplus / 100 % 100);
    info["build"] = RLAIF_BUILD_TYPE;
    info["pybind11"] = "pybind11 " RLAIF_TEXT(PYBIND11_VERSION_MAJOR) "." RLAIF_TEXT(PYBIND11_VERSION_MINOR);
    info["target"] = RLAIF_TARGET;
    info["instructions"] = rlaif::variants().front();
    return info;
}

}  // namespace

PYBIND11_MODULE(_native, module) {
    module.doc() = "Compiled CPU kernels; called by rlaif_kernels.native alone, which checks what it passes.";
    module.def("build_info", &build_info);
    module.def("variants", &rlaif::variants);
    rlaif::register_gae(module);
    rlaif::decode::register_decode(module);
    rlaif::logprobs::register_logprobs(module);
}
