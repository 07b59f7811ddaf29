// The memory and the Python side of decode.hpp.
#include "decode.hpp"
#include "team.hpp"
#include "variants.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

namespace rlaif::decode {

RLAIF_DECLARE_VARIANTS(Variant)

namespace {

using Address = std::uintptr_t;
using Parts = std::vector<std::tuple<Address, Address, std::size_t>>;  // weight, bias or 0, out

float* floats(Address address) { return reinterpret_cast<float*>(address); }

class Decoder {
  public:
    Decoder(std::size_t rows, std::size_t hidden, std::size_t heads, std::size_t groups, std::size_t width,
            std::size_t rotary, std::size_t inner, std::size_t vocabulary, std::size_t room, std::size_t layers,
            double epsilon, double scaling, std::size_t threads, const std::string& variant)
        : variant_(RLAIF_CHOOSE_VARIANT(variant_name(variant))), blocks_(layers), lengths_(rows), team_(threads) {
        if (!rows || !hidden || !groups || !width || !inner || !vocabulary || !room || heads % groups || rotary > width ||
            rotary % 2) {
            throw std::invalid_argument("these sizes make no transformer");
        }
        const auto whole = [this](std::size_t size) { return (size + variant_.lanes - 1) / variant_.lanes * variant_.lanes; };
        its_.rows = rows, its_.hidden = hidden, its_.heads = heads, its_.groups = groups, its_.width = width;
        its_.wide = whole(width), its_.rotary = rotary, its_.inner = inner, its_.vocabulary = vocabulary;
        its_.room = whole(room), its_.epsilon = float(epsilon), its_.scaling = float(scaling);
        its_.layers = layers, its_.blocks = blocks_.data(), its_.lengths = lengths_.data();
        its_.x = memory(rows * stride(hidden)), its_.qkv = memory(rows * stride((heads + 2 * groups) * width));
        its_.attended = memory(rows * stride(heads * width)), its_.between = memory(rows * stride(inner));
        for (Block& block : blocks_) {
            block.keys = memory(rows * groups * its_.room * width);
            block.values = memory(rows * groups * its_.room * its_.wide);
        }
        for (std::size_t member = 0; member < team_.size(); ++member) scratch_.push_back(memory(scratch_size(its_)));
    }

    void set_block(std::size_t layer, Address before, Address between, Address query, Address key, const Parts& qkv,
                   const Parts& projection, const Parts& gate_up, const Parts& down) {
        Block& block = blocks_.at(layer);
        block.before = copied(before, its_.hidden), block.between = copied(between, its_.hidden);
        block.query = copied(query, its_.width), block.key = copied(key, its_.width);
        block.qkv = arranged(qkv, its_.hidden, (its_.heads + 2 * its_.groups) * its_.width);
        block.projection = arranged(projection, its_.heads * its_.width, its_.hidden);
        block.gate_up = arranged(gate_up, its_.hidden, 2 * its_.inner, true);
        block.down = arranged(down, its_.inner, its_.hidden);
    }

    void set_head(Address last, const Parts& head) {
        its_.last = copied(last, its_.hidden);
        its_.head = arranged(head, its_.hidden, its_.vocabulary);
    }

    void remember(std::size_t layer, std::size_t row, Address keys, Address values, std::size_t stride,
                  std::size_t count) {
        if (count > its_.room) throw std::length_error("the cache has no room for that many tokens");
        if (row >= its_.rows || count > stride) throw std::out_of_range("no such row, or fewer tokens than that");
        variant_.remember(its_, blocks_.at(layer), row, floats(keys), floats(values), stride, count);
        lengths_[row] = count;
    }

    void step(Address x, Address cosines, Address sines, Address logits) {
        for (std::size_t row = 0; row < its_.rows; ++row) {
            if (lengths_[row] >= its_.room) throw std::length_error("the cache is full");
        }
        const Step given{floats(x), floats(cosines), floats(sines), floats(logits)};
        const auto wait = [](const Member& member) { static_cast<Team*>(member.team)->wait(member.of); };
        team_.run([&](std::size_t number, std::size_t of) {
            variant_.step(its_, given, Member{number, of, wait, &team_, scratch_[number]});
        });
        for (std::size_t row = 0; row < its_.rows; ++row) ++lengths_[row];
    }

    // Go on with some of the rows alone, which are given in order.
    void keep(const std::vector<std::size_t>& rows) {
        for (std::size_t to = 0; to < rows.size(); ++to) {
            if (rows[to] >= its_.rows || (to && rows[to] <= rows[to - 1])) throw std::out_of_range("no such rows");
        }
        for (std::size_t to = 0; to < rows.size(); ++to) {
            const std::size_t from = rows[to];
            lengths_[to] = lengths_[from];
            for (const Block& block : blocks_) {
                for (auto [cache, size] : {std::pair{block.keys, its_.width}, {block.values, its_.wide}}) {
                    const std::size_t each = its_.groups * its_.room * size;
                    if (to != from) std::memcpy(cache + to * each, cache + from * each, each * sizeof(float));
                }
            }
        }
        its_.rows = rows.size();
    }

  private:
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };

    // Zeros, at the beginning of a cache line. The system gives pages only once they are used, as most of a cache is not.
    float* memory(std::size_t size) {
        constexpr std::size_t line = 64;
        memory_.emplace_back(std::calloc(size * sizeof(float) + line, 1));
        if (!memory_.back()) throw std::bad_alloc();
        const Address start = reinterpret_cast<Address>(memory_.back().get());
        return floats((start + line - 1) / line * line);
    }

    float* copied(Address from, std::size_t size) {
        if (!from) return nullptr;
        float* to = memory(size);
        std::memcpy(to, floats(from), size * sizeof(float));
        return to;
    }

    Linear arranged(const Parts& given, std::size_t in, std::size_t out, bool paired = false) {
        std::vector<Part> parts;
        std::size_t outs = 0;
        bool bias = false;
        for (const auto& [weight, its_bias, its_out] : given) {
            parts.push_back(Part{floats(weight), floats(its_bias), its_out});
            outs += its_out;
            bias = bias || its_bias;
        }
        if (outs != out || (paired && (parts.size() != 2 || parts[0].out != parts[1].out))) {
            throw std::invalid_argument("the parts of a linear layer do not fit its size");
        }
        Linear linear{in, out, paired, nullptr, nullptr};
        const std::size_t columns = panels(linear, variant_.lanes) * variant_.lanes;
        linear.weight = memory(columns * in);
        if (bias) linear.bias = memory(columns);
        variant_.arrange(linear, parts.data(), parts.size());
        return linear;
    }

    const Variant& variant_;
    Stack its_{};
    std::vector<Block> blocks_;
    std::vector<std::size_t> lengths_;
    std::vector<std::unique_ptr<void, Free>> memory_;
    std::vector<float*> scratch_;
    Team team_;
};

}  // namespace

void register_decode(py::module_& module) {
    using namespace py::literals;
    const py::call_guard<py::gil_scoped_release> released;
    py::class_<Decoder>(module, "Decoder")
        .def(py::init<std::size_t, std::size_t, std::size_t, std::size_t, std::size_t, std::size_t, std::size_t,
                      std::size_t, std::size_t, std::size_t, double, double, std::size_t, const std::string&>(),
             py::kw_only(), "rows"_a, "hidden"_a, "heads"_a, "groups"_a, "width"_a, "rotary"_a, "inner"_a, "vocabulary"_a,
             "room"_a, "layers"_a, "epsilon"_a, "scaling"_a, "threads"_a, "variant"_a = "", released)
        .def("set_block", &Decoder::set_block, py::kw_only(), "layer"_a, "before"_a, "between"_a, "query"_a, "key"_a,
             "qkv"_a, "projection"_a, "gate_up"_a, "down"_a, released)
        .def("set_head", &Decoder::set_head, py::kw_only(), "last"_a, "head"_a, released)
        .def("remember", &Decoder::remember, py::kw_only(), "layer"_a, "row"_a, "keys"_a, "values"_a, "stride"_a,
             "count"_a, released)
        .def("step", &Decoder::step, py::kw_only(), "x"_a, "cosines"_a, "sines"_a, "logits"_a, released)
        .def("keep", &Decoder::keep, "rows"_a, released);
}

}  // namespace rlaif::decode
