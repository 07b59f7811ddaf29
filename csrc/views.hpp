// Tensors as Python passes them, looked at without Python: what a call of a small operation costs is mostly asking a
// tensor, one attribute after the other, what it is. torch tells it to C by DLPack's exchange API (dmlc/dlpack 1.2); where
// it does not, callers go the slow way.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include <pybind11/pybind11.h>

namespace rlaif {

// The part of DLPack's binary interface that is used here.
struct DLTensor {
    void* data;
    std::int32_t device_type, device_id, ndim;
    std::uint8_t code, bits;
    std::uint16_t lanes;
    std::int64_t *shape, *strides;
    std::uint64_t byte_offset;
};
struct Exchange {
    std::uint32_t major, minor;
    void* previous;
    void *allocate, *from_object, *to_object;
    int (*look)(void* object, DLTensor* out);
    void* stream;
};

class Views {
  public:
    // What torch says of itself: its capsule "dlpack_exchange_api", the two types whose data is where they say, and its
    // functions `empty_like` and `get_num_threads`.
    void learn(const pybind11::capsule& exchange, const pybind11::type& tensor, const pybind11::type& parameter,
               pybind11::function empty_like, pybind11::function threads) {
        const auto* given = static_cast<const Exchange*>(PyCapsule_GetPointer(exchange.ptr(), "dlpack_exchange_api"));
        if (!given) throw pybind11::error_already_set();
        if (given->major == 1) look_ = given->look;
        tensor_ = tensor.ptr(), parameter_ = parameter.ptr();
        empty_like_ = empty_like.release().ptr(), threads_ = threads.release().ptr();
        negated_ = pybind11::str("is_neg").release().ptr();
    }
    bool ready() const { return look_ != nullptr; }

    // Whether it is a plain tensor in the CPU's memory, and what it looks like. Numbers that are only negated when they are
    // read are not plain; a tensor that was just made needs not be asked.
    bool of(PyObject* object, DLTensor& view, bool fresh = false) const {
        PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(object));
        if (type != tensor_ && type != parameter_) return false;
        if (look_(object, &view) != 0) {
            PyErr_Clear();
            return false;
        }
        if (view.device_type != 1 || view.lanes != 1) return false;
        view.data = static_cast<char*>(view.data) + view.byte_offset;
        if (fresh || view.code == 0 || view.code == 6) return true;
        PyObject* negated = PyObject_CallMethodNoArgs(object, negated_);
        if (!negated) PyErr_Clear();
        Py_XDECREF(negated);
        return negated == Py_False;
    }

    // A new tensor of this one's shape and dtype.
    pybind11::object like(PyObject* tensor) const {
        return pybind11::reinterpret_steal<pybind11::object>(made(PyObject_CallOneArg(empty_like_, tensor)));
    }
    // As many threads as torch takes.
    std::size_t threads() const {
        const auto said = pybind11::reinterpret_steal<pybind11::object>(made(PyObject_CallNoArgs(threads_)));
        return PyLong_AsSize_t(said.ptr());
    }

  private:
    static PyObject* made(PyObject* object) {
        if (!object) throw pybind11::error_already_set();
        return object;
    }

    int (*look_)(void*, DLTensor*) = nullptr;
    PyObject *tensor_ = nullptr, *parameter_ = nullptr, *negated_ = nullptr;
    PyObject *empty_like_ = nullptr, *threads_ = nullptr;
};

inline Views views;

// A function of plain arguments, called without pybind11, whose sorting of arguments takes as long as a short row. It returns
// what it found, None if it is not for these arguments, and may throw.
using Quick = pybind11::object (*)(PyObject* const* arguments);

template <Quick run, Py_ssize_t count>
PyObject* call_quick(PyObject*, PyObject* const* arguments, Py_ssize_t given) {
    if (given != count) return PyErr_Format(PyExc_TypeError, "takes %zd arguments, got %zd", count, given);
    try {
        return run(arguments).release().ptr();
    } catch (pybind11::error_already_set& error) {
        error.restore();
    } catch (const std::exception& error) {
        PyErr_SetString(PyExc_RuntimeError, error.what());
    }
    return nullptr;
}
template <Quick run, Py_ssize_t count>
void define_quick(pybind11::module_& module, const char* name) {
    static PyMethodDef method{name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call_quick<run, count>)),
                              METH_FASTCALL, nullptr};
    module.add_object(name, PyCFunction_New(&method, nullptr));
}

enum class Code : std::uint8_t { integer = 0, real = 2, bfloat = 4, boolean = 6 };

inline bool holds(const DLTensor& view, Code code, int bits) { return view.code == std::uint8_t(code) && view.bits == bits; }
inline bool alike(const DLTensor& a, const DLTensor& b) {
    return a.ndim == b.ndim && std::memcmp(a.shape, b.shape, std::size_t(a.ndim) * sizeof(std::int64_t)) == 0;
}
inline bool contiguous(const DLTensor& view) {
    std::int64_t step = 1;
    for (int axis = view.ndim; axis-- > 0; step *= view.shape[axis]) {
        if (view.shape[axis] != 1 && view.strides && view.strides[axis] != step) return false;
    }
    return true;
}

}  // namespace rlaif
