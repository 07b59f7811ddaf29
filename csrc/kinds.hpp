// The kinds of numbers that tensors hold, as Python passes them.
#pragma once

namespace rlaif {

enum class Kind : int { float32, bfloat16, float16 };

}  // namespace rlaif
