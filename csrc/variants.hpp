// The same source, compiled for several kinds of processors, one of which is chosen when it runs.
//
// A topic's arithmetic lies in a file of its own, which CMakeLists.txt compiles once for each variant with another
// RLAIF_VARIANT and instruction set. It defines `const Variant RLAIF_VARIANT`, a struct of function pointers. It uses
// plain structs alone: of an inline function of the standard library the linker keeps one copy, which would then be the
// one for a processor that this is not.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#ifdef RLAIF_X86
#define RLAIF_DECLARE_VARIANTS(Variant) extern const Variant baseline, avx2, avx512;
#define RLAIF_CHOOSE_VARIANT(name) (*(name == "avx512" ? &avx512 : name == "avx2" ? &avx2 : &baseline))
#else
#define RLAIF_DECLARE_VARIANTS(Variant) extern const Variant baseline;
#define RLAIF_CHOOSE_VARIANT(name) baseline
#endif

namespace rlaif {

// Those that this processor can run, fastest first.
inline std::vector<std::string> variants() {
    std::vector<std::string> able;
#ifdef RLAIF_X86
    __builtin_cpu_init();
    const bool second = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (second && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) {
        able.push_back("avx512");
    }
    if (second) able.push_back("avx2");
#endif
    able.push_back("baseline");
    return able;
}

// The name asked for, or of the fastest if none is.
inline std::string variant_name(const std::string& asked) {
    const std::vector<std::string> able = variants();
    if (asked.empty()) return able.front();
    for (const std::string& name : able) {
        if (name == asked) return name;
    }
    throw std::invalid_argument("this processor cannot run the variant '" + asked + "'");
}

}  // namespace rlaif
