// snakelm._text: the text core for Python: tokenizer, shingles, MinHash. Thin: it turns Python and Arrow memory into views, drops the GIL and
// calls the library. Errors a user can cause are worded in snakelm/tokenizer; here they are ValueError.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>

#include "bpe.h"
#include "minhash.h"
#include "shingles.h"
#include "trainer.h"

namespace py = pybind11;
using namespace snakelm::text;

namespace {

Pattern pattern_of(const std::string& name) {
    if (name == "gpt2") return Pattern::kGpt2;
    if (name == "cl100k") return Pattern::kCl100k;
    if (name == "o200k") return Pattern::kO200k;
    throw std::invalid_argument("unknown pattern " + name);
}

// UTF-8 of Python strings for the length of one call. ASCII strings are read in place; others are copied, because
// PyUnicode_AsUTF8 would keep the copy inside the string for its whole life. Surrogate pairs are joined and lone
// surrogates become U+FFFD, as in tiktoken.
class Strings {
public:
    void add(py::handle text) {
        if (PyBytes_Check(text.ptr())) return add_bytes(text);
        if (!PyUnicode_Check(text.ptr())) {
            throw py::type_error("expected str, found " + std::string(py::str(py::type::handle_of(text).attr("__name__"))));
        }
        if (PyUnicode_IS_COMPACT_ASCII(text.ptr())) {
            const auto length = static_cast<size_t>(PyUnicode_GET_LENGTH(text.ptr()));
            views.push_back({reinterpret_cast<Bytes>(PyUnicode_1BYTE_DATA(text.ptr())), length});
            return;
        }
        PyObject* encoded = PyUnicode_AsUTF8String(text.ptr());
        if (encoded == nullptr) {
            if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) throw py::error_already_set();
            PyErr_Clear();
            const py::object joined = text.attr("encode")("utf-16", "surrogatepass").attr("decode")("utf-16", "replace");
            encoded = PyUnicode_AsUTF8String(joined.ptr());
            if (encoded == nullptr) throw py::error_already_set();
        }
        owned_.push_back(py::reinterpret_steal<py::object>(encoded));
        add_bytes(owned_.back());
    }
    std::vector<View> views;

private:
    void add_bytes(py::handle bytes) {
        const auto length = static_cast<size_t>(PyBytes_GET_SIZE(bytes.ptr()));
        views.push_back({reinterpret_cast<Bytes>(PyBytes_AS_STRING(bytes.ptr())), length});
    }
    std::vector<py::object> owned_;
};

// `texts` is a tuple, so that it owns its strings even if another thread changes the list it was made from.
Strings strings_of(const py::tuple& texts) {
    Strings strings;
    strings.views.reserve(texts.size());
    for (py::handle text : texts) strings.add(text);
    return strings;
}

// One Arrow string array: (data address, data bytes, offsets address, offset width 4 or 8, first, length). The caller
// keeps the buffers alive. Offsets are checked against the buffer, so a damaged array cannot be read out of bounds.
template <class Offset>
void append_arrow(uintptr_t data, uint64_t size, uintptr_t offsets, size_t first, size_t length, std::vector<View>& views) {
    const auto* bounds = reinterpret_cast<const Offset*>(offsets) + first;
    const auto* bytes = reinterpret_cast<Bytes>(data);
    for (size_t i = 0; i < length; ++i) {
        const Offset from = bounds[i], to = bounds[i + 1];
        if (from < 0 || to < from || static_cast<uint64_t>(to) > size) {
            throw std::invalid_argument("Arrow array: offsets of row " + std::to_string(i) + " lie outside its data");
        }
        views.push_back({bytes + from, static_cast<size_t>(to - from)});
    }
}

using ArrowChunk = std::tuple<uintptr_t, uint64_t, uintptr_t, int, size_t, size_t>;

std::vector<View> arrow_views(const std::vector<ArrowChunk>& chunks) {
    std::vector<View> views;
    for (const auto& [data, size, offsets, width, first, length] : chunks) {
        if (width == 4) append_arrow<int32_t>(data, size, offsets, first, length, views);
        else append_arrow<int64_t>(data, size, offsets, first, length, views);
    }
    return views;
}

// (ids uint32 [total], offsets int64 [texts + 1])
py::tuple encode_views(const Encoder& encoder, const std::vector<View>& views, int threads) {
    Batch batch;
    {
        const py::gil_scoped_release nogil;
        batch = encode_batch(encoder, views, threads);
    }
    py::array_t<int64_t> offsets(static_cast<py::ssize_t>(views.size() + 1));
    int64_t* bound = offsets.mutable_data();
    bound[0] = 0;
    for (size_t i = 0; i < views.size(); ++i) bound[i + 1] = bound[i] + batch.lengths[i];
    py::array_t<uint32_t> ids(static_cast<py::ssize_t>(bound[views.size()]));
    uint32_t* out = ids.mutable_data();
    {
        const py::gil_scoped_release nogil;
        for (auto& chunk : batch.chunks) {
            if (!chunk.empty()) std::memcpy(out, chunk.data(), chunk.size() * sizeof(uint32_t));
            out += chunk.size();
            std::vector<uint32_t>().swap(chunk);  // freed as it is copied: the peak stays near one copy
        }
    }
    return py::make_tuple(ids, offsets);
}

py::list encode_one(const Encoder& encoder, const py::object& text) {
    Strings strings;
    strings.add(text);
    std::vector<uint32_t> ids;
    {
        const py::gil_scoped_release nogil;
        Scratch scratch;
        encoder.encode(strings.views[0], scratch, ids);
    }
    py::list result(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) result[i] = py::int_(ids[i]);
    return result;
}

std::vector<size_t> split(const std::string& pattern, const py::bytes& text) {
    const std::string_view bytes = text;
    std::vector<size_t> lengths;
    const auto visit = [&](Bytes, size_t length) { lengths.push_back(length); };
    const auto* p = reinterpret_cast<Bytes>(bytes.data());
    switch (pattern_of(pattern)) {
        case Pattern::kGpt2: each_piece<Gpt2>(p, bytes.size(), visit); break;
        case Pattern::kCl100k: each_piece<Cl100k>(p, bytes.size(), visit); break;
        case Pattern::kO200k: each_piece<O200k>(p, bytes.size(), visit); break;
    }
    return lengths;
}

py::list merges_of(const Encoder& encoder) {
    py::list result;
    for (const auto& [left, right] : encoder.merges()) {
        if (left == kNoToken || right == kNoToken) result.append(py::none());
        else result.append(py::make_tuple(left, right));
    }
    return result;
}

// (hashes uint64 [total], offsets int64 [texts + 1])
py::tuple shingle_hashes(const std::vector<ArrowChunk>& chunks, size_t length, int threads) {
    if (length == 0) throw std::invalid_argument("a shingle has at least one word");
    const std::vector<View> views = arrow_views(chunks);
    Shingles made;
    {
        const py::gil_scoped_release nogil;
        made = shingles(views, length, threads);
    }
    py::array_t<int64_t> offsets(static_cast<py::ssize_t>(views.size() + 1));
    int64_t* bound = offsets.mutable_data();
    bound[0] = 0;
    for (size_t i = 0; i < views.size(); ++i) bound[i + 1] = bound[i] + made.counts[i];
    py::array_t<uint64_t> hashes(static_cast<py::ssize_t>(bound[views.size()]));
    uint64_t* out = hashes.mutable_data();
    for (auto& chunk : made.chunks) {
        out = std::copy(chunk.begin(), chunk.end(), out);
        std::vector<uint64_t>().swap(chunk);
    }
    return py::make_tuple(hashes, offsets);
}

// uint32 [texts, permutations]
py::array_t<uint32_t> minhash(const std::vector<ArrowChunk>& chunks, size_t length, size_t permutations, int threads) {
    if (length == 0) throw std::invalid_argument("a shingle has at least one word");
    const std::vector<View> views = arrow_views(chunks);
    py::array_t<uint32_t> out({views.size(), permutations});
    uint32_t* data = out.mutable_data();
    const py::gil_scoped_release nogil;
    signatures(views, length, permutations, threads, data);
    return out;
}

template <class T>
using Array = py::array_t<T, py::array::c_style>;

// See minhash.h. Shapes are checked here, and once a call that links and rows lead to what is there.
size_t drop_near_documents(Array<uint32_t> links, const Array<uint16_t>& signatures, const Array<uint32_t>& rows,
                           Array<uint32_t> state, size_t first, size_t last, size_t least, size_t fullest) {
    const auto size = [](const py::array& array, int axis) { return static_cast<size_t>(array.shape(axis)); };
    if (links.ndim() != 2 || signatures.ndim() != 2 || rows.ndim() != 1 || state.ndim() != 1 ||
        size(links, 1) != size(rows, 0) || size(state, 0) != size(rows, 0) || size(signatures, 1) > 0xFFFF ||
        first > last || last > size(rows, 0) || size(rows, 0) >= kNoLink) {
        throw std::invalid_argument("drop_near: links [bands, n], signatures [rows, permutations], rows [n], state [n]");
    }
    const Candidates all{size(rows, 0), size(links, 0), size(signatures, 1), links.mutable_data(), signatures.data(),
                         rows.data(), state.mutable_data()};
    for (size_t j = first; j < last; ++j) {
        bool inside = all.rows[j] < size(signatures, 0);
        for (size_t band = 0; band < all.bands; ++band) {
            const uint32_t link = all.links[band * all.documents + j];
            inside = inside && (link == kNoLink || link < j);
        }
        if (!inside) throw std::invalid_argument("drop_near: document " + std::to_string(j) + " leads to none before it");
    }
    const py::gil_scoped_release nogil;
    return drop_near(all, first, last, least, fullest);
}

}  // namespace

PYBIND11_MODULE(_text, m) {
    m.doc() = "Byte-level BPE over the GPT-2, cl100k and o200k split patterns; shingles and MinHash of texts.";

    py::class_<Encoder>(m, "Encoder")
        .def(py::init([](const std::vector<py::bytes>& tokens, const std::string& pattern) {
                 std::vector<std::string_view> views(tokens.begin(), tokens.end());
                 return std::make_unique<Encoder>(views, pattern_of(pattern));
             }),
             py::arg("tokens"), py::arg("pattern"), "tokens[id]: bytes, empty for special and unused ids.")
        .def("encode", &encode_one, py::arg("text"), "Ids of a str or of bytes.")
        .def("encode_strings",
             [](const Encoder& self, const py::sequence& texts, int threads) {
                 const py::tuple kept(texts);
                 const Strings strings = strings_of(kept);
                 return encode_views(self, strings.views, threads);
             },
             py::arg("texts"), py::arg("threads"))
        .def("encode_arrow",
             [](const Encoder& self, const std::vector<ArrowChunk>& chunks, int threads) {
                 return encode_views(self, arrow_views(chunks), threads);
             },
             py::arg("chunks"), py::arg("threads"))
        .def("merges", &merges_of, "(left, right) per id, or None: see bpe.h.");

    py::class_<Trainer>(m, "Trainer")
        .def(py::init([](const std::string& pattern, int threads) {
                 return std::make_unique<Trainer>(pattern_of(pattern), threads);
             }),
             py::arg("pattern"), py::arg("threads"))
        .def("add_strings",
             [](Trainer& self, const py::sequence& texts) {
                 const py::tuple kept(texts);
                 const Strings strings = strings_of(kept);
                 const py::gil_scoped_release nogil;
                 self.add(strings.views);
             })
        .def("add_arrow",
             [](Trainer& self, const std::vector<ArrowChunk>& chunks) {
                 const std::vector<View> views = arrow_views(chunks);
                 const py::gil_scoped_release nogil;
                 self.add(views);
             })
        .def("train", &Trainer::train, py::arg("merges"), py::call_guard<py::gil_scoped_release>(),
             "At most that many merges as (left id, right id).")
        .def_property_readonly("bytes", &Trainer::bytes)
        .def_property_readonly("pieces", &Trainer::pieces)
        .def_property_readonly("distinct_pieces", &Trainer::distinct_pieces);

    m.def("shingles", &shingle_hashes, py::arg("chunks"), py::arg("length"), py::arg("threads"));
    m.def("signatures", &minhash, py::arg("chunks"), py::arg("length"), py::arg("permutations"), py::arg("threads"));
    m.def("drop_near", &drop_near_documents, py::arg("links").noconvert(), py::arg("signatures").noconvert(),
          py::arg("rows").noconvert(), py::arg("state").noconvert(), py::arg("first"), py::arg("last"),
          py::arg("least"), py::arg("fullest"));
    m.def("split", &split, py::arg("pattern"), py::arg("text"), "Byte lengths of the pieces of `text`.");
}
