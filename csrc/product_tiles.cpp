// The arithmetic of product.hpp, for processors with AVX512_BF16.
#include "product.hpp"

#include <immintrin.h>

namespace rlaif::product {
namespace {

using Pairs = __m512i;  // 16, of two bfloat16 each
constexpr std::size_t stretch = 128;  // pairs that are summed before anything is added to what is large already

std::size_t smaller(std::size_t a, std::size_t b) { return a < b ? a : b; }

// One of the four steps of transposing: entries whose place differs in one bit of row and column change places.
template <int bit>
void exchange(Pairs (&rows)[16]) {
    alignas(64) std::int32_t low[16], high[16];
    for (int lane = 0; lane < 16; ++lane) {
        low[lane] = lane & bit ? 16 + (lane ^ bit) : lane;
        high[lane] = lane & bit ? 16 + lane : lane ^ bit;
    }
    const Pairs from_low = _mm512_load_si512(low), from_high = _mm512_load_si512(high);
    for (int row = 0; row < 16; ++row) {
        if (row & bit) continue;
        const Pairs a = rows[row], b = rows[row | bit];
        rows[row] = _mm512_permutex2var_epi32(a, from_low, b);
        rows[row | bit] = _mm512_permutex2var_epi32(a, from_high, b);
    }
}

// 16 pairs of each of up to 16 rows, as 16 vectors of a pair of each row; 0 beyond the rows and beyond their ends.
void columns_of(const std::uint16_t* from, std::size_t step, std::size_t rows, std::size_t numbers, Pairs (&out)[16]) {
    const __mmask32 there = numbers >= 32 ? ~0u : (1u << numbers) - 1;
    for (std::size_t row = 0; row < 16; ++row) {
        out[row] = row < rows ? _mm512_maskz_loadu_epi16(there, from + row * step) : _mm512_setzero_si512();
    }
    exchange<1>(out);
    exchange<2>(out);
    exchange<4>(out);
    exchange<8>(out);
}

// Pairs [begin, end) along the width of up to 16 rows, of which no more than `kept` are stored: those at one place along
// the width lie together, `apart` from those at the next.
void transpose(const std::uint16_t* from, std::size_t across, std::size_t rows, std::size_t width, std::size_t begin,
               std::size_t end, std::int32_t* into, std::size_t apart, __mmask16 kept) {
    for (std::size_t at = begin; at < end; at += 16) {
        Pairs found[16];
        columns_of(from + 2 * at, across, rows, width - 2 * at, found);
        for (std::size_t one = 0; one < smaller(16, end - at); ++one) {
            _mm512_mask_storeu_epi32(into + (at - begin + one) * apart, kept, found[one]);
        }
    }
}

// The pairs of numbers at two places along the width, of up to 16 rows that lie beside each other; 0 beyond the rows.
Pairs beside(const std::uint16_t* first, const std::uint16_t* second, std::size_t rows) {
    const __mmask16 there = rows >= 16 ? 0xffff : (1u << rows) - 1;
    const Pairs low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, first));
    if (!second) return low;
    return low | _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, second)), 16);
}

// Pairs [begin, end) along the width of `rows` rows from `first` on, as tiles of `group` rows read them: one tile after
// another, in it one place along the width after another.
template <std::size_t group>
void pack(const Matrix& of, std::size_t first, std::size_t rows, std::size_t width, std::size_t begin, std::size_t end,
          std::int32_t* into) {
    constexpr std::size_t chunk = group < 16 ? group : 16;
    constexpr __mmask16 kept = (1u << chunk) - 1;
    const std::uint16_t* from = of.numbers + first * of.across;
    const auto place = [&](std::size_t row) { return into + row / group * group * (end - begin) + row % group; };
    const std::size_t whole = (rows + group - 1) / group * group;
    if (of.along == 1) {
        for (std::size_t row = 0; row < whole; row += chunk) {
            const std::size_t count = row < rows ? smaller(chunk, rows - row) : 0;
            transpose(from + row * of.across, of.across, count, width, begin, end, place(row), group, kept);
        }
        return;
    }
    for (std::size_t at = begin; at < end; ++at) {
        const std::uint16_t* low = from + 2 * at * of.along;
        const std::uint16_t* high = 2 * at + 1 < width ? low + of.along : nullptr;
        for (std::size_t row = 0; row < whole; row += chunk) {
            const std::size_t count = row < rows ? smaller(chunk, rows - row) : 0;
            const Pairs found = beside(low + row, high ? high + row : nullptr, count);
            _mm512_mask_storeu_epi32(place(row) + (at - begin) * group, kept, found);
        }
    }
}

// A tile of `count` rows: x has `tall` pairs for each place along the width, weight `broad`.
template <std::size_t count>
void tile(const std::int32_t* x, const std::int32_t* weight, std::size_t deep, void* into, std::size_t step, bool narrow,
          std::size_t columns, const float* bias, bool begun) {
    float* out = static_cast<float*>(into);
    const __mmask16 there[2] = {__mmask16(columns >= 16 ? 0xffff : (1u << columns) - 1),
                                __mmask16(columns >= 32 ? 0xffff : columns > 16 ? (1u << (columns - 16)) - 1 : 0)};
    __m512 totals[count][2];
    for (std::size_t row = 0; row < count; ++row) {
        for (std::size_t half = 0; half < 2; ++half) {
            const float* from = begun ? out + row * step : bias;
            totals[row][half] = from ? _mm512_maskz_loadu_ps(there[half], from + 16 * half) : _mm512_setzero_ps();
        }
    }
    for (std::size_t begin = 0; begin < deep; begin += stretch) {
        __m512 sums[count][2] = {};
        for (std::size_t at = begin; at < smaller(begin + stretch, deep); ++at) {
            const Pairs left = _mm512_loadu_si512(weight + at * broad), right = _mm512_loadu_si512(weight + at * broad + 16);
            for (std::size_t row = 0; row < count; ++row) {
                const __m512bh same = __m512bh(_mm512_set1_epi32(x[at * tall + row]));
                sums[row][0] = _mm512_dpbf16_ps(sums[row][0], same, __m512bh(left));
                sums[row][1] = _mm512_dpbf16_ps(sums[row][1], same, __m512bh(right));
            }
        }
        for (std::size_t row = 0; row < count; ++row) {
            for (std::size_t half = 0; half < 2; ++half) totals[row][half] += sums[row][half];
        }
    }
    for (std::size_t row = 0; row < count; ++row) {
        for (std::size_t half = 0; half < 2; ++half) {
            const std::size_t place = row * step + 16 * half;
            if (narrow) {
                _mm256_mask_storeu_epi16(static_cast<std::uint16_t*>(into) + place, there[half],
                                         __m256i(_mm512_cvtneps_pbh(totals[row][half])));
            } else {
                _mm512_mask_storeu_ps(out + place, there[half], totals[row][half]);
            }
        }
    }
}

using Tile = void (*)(const std::int32_t*, const std::int32_t*, std::size_t, void*, std::size_t, bool, std::size_t,
                      const float*, bool);
// The tallest tile of so many rows at most, and how tall it is; any number of rows is a few of these.
struct Fit {
    std::size_t rows;
    Tile run;
};
Fit fit(std::size_t rows) {
    if (rows >= tall) return {tall, tile<tall>};
    if (rows >= 8) return {8, tile<8>};
    if (rows >= 4) return {4, tile<4>};
    return rows >= 2 ? Fit{2, tile<2>} : Fit{1, tile<1>};
}

}  // namespace

void arrange(const Product& its, std::size_t first, std::size_t end, std::int32_t* into) {
    for (std::size_t begin = 0; begin < pairs(its); begin += depth) {
        const std::size_t stop = smaller(begin + depth, pairs(its));
        for (std::size_t number = first; number < end; number += together) {
            const std::size_t row = number * tall, last = smaller(smaller(number + together, end) * tall, its.rows);
            pack<tall>(its.x, row, last - row, its.width, begin, stop,
                       into + tall * (tiles(its) * begin + number * (stop - begin)));
        }
    }
}

void multiply(const Product& its, const std::int32_t* x, std::size_t first, std::size_t end, std::int32_t* scratch) {
    const std::size_t size = its.narrow ? sizeof(std::uint16_t) : sizeof(float);
    for (std::size_t group = first; group < end; group += together) {
        const std::size_t last = smaller(group + together, end), left = group * broad;
        for (std::size_t begin = 0; begin < pairs(its); begin += depth) {
            const std::size_t deep = smaller(depth, pairs(its) - begin);
            const std::size_t right = smaller(last * broad, its.columns);
            pack<broad>(its.weight, left, right - left, its.width, begin, begin + deep, scratch);
            for (std::size_t number = 0; number < tiles(its); ++number) {
                const std::int32_t* its_x = x + tall * (tiles(its) * begin + number * deep);
                const std::size_t first_row = number * tall, end_row = smaller(first_row + tall, its.rows);
                for (std::size_t panel = group; panel < last; ++panel) {
                    const std::size_t column = panel * broad;
                    for (std::size_t row = first_row; row < end_row;) {
                        const Fit some = fit(end_row - row);
                        some.run(its_x + (row - first_row), scratch + (panel - group) * broad * deep, deep,
                                 static_cast<char*>(its.out) + (row * its.out_step + column) * size, its.out_step,
                                 its.narrow, its.columns - column, its.bias ? its.bias + column : nullptr,
                                 its.onto || begin > 0);
                        row += some.rows;
                    }
                }
            }
        }
    }
}

}  // namespace rlaif::product
