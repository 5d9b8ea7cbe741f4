// snakelm._text: the tokenizer for Python. Thin: it turns Python and Arrow memory into views, drops
// the GIL and calls the library. Errors a user can cause are worded in snakelm/tokenizer; here they
// are ValueError.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "text/batch.h"
#include "text/bpe.h"
#include "text/crc32.h"
#include "text/spans.h"
#include "text/trainer.h"

namespace py = pybind11;
using snakelm::arrow_views;
using snakelm::ArrowChunk;
using snakelm::best_isa;
using snakelm::Bytes;
using snakelm::Isa;
using snakelm::isa_level;
using snakelm::View;
using namespace snakelm::text;

namespace {

Pattern pattern_of(const std::string& name) {
  const std::pair<const char*, Pattern> known[] = {
      {"gpt2", Pattern::gpt2},       {"cl100k", Pattern::cl100k}, {"o200k", Pattern::o200k},
      {"llama3", Pattern::llama3},   {"qwen2", Pattern::qwen2},   {"nanochat", Pattern::nanochat},
      {"elision", Pattern::elision}, {"whole", Pattern::whole},
  };
  for (const auto& [word, pattern] : known) {
    if (name == word) return pattern;
  }
  throw std::invalid_argument("unknown pattern " + name);
}

// UTF-8 of Python strings for the length of one call. ASCII strings are read in place; others are
// copied, because PyUnicode_AsUTF8 would keep the copy inside the string for its whole life.
// Surrogate pairs are joined and lone surrogates become U+FFFD, as in tiktoken.
class Strings {
 public:
  void add(py::handle text) {
    if (PyBytes_Check(text.ptr())) return add_bytes(text);
    if (!PyUnicode_Check(text.ptr())) {
      throw py::type_error("expected str, found " +
                           std::string(py::str(py::type::handle_of(text).attr("__name__"))));
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
      const py::object joined =
          text.attr("encode")("utf-16", "surrogatepass").attr("decode")("utf-16", "replace");
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

// `texts` is a tuple, so that it owns its strings even if another thread changes the list it was
// made from.
Strings strings_of(const py::tuple& texts) {
  Strings strings;
  strings.views.reserve(texts.size());
  for (py::handle text : texts) strings.add(text);
  return strings;
}

// The ids where they are, which the array owns from now on.
template <class Id>
py::array_t<Id> array_of(std::unique_ptr<IdsOf<Id>> ids) {
  const auto free = [](void* p) { delete static_cast<IdsOf<Id>*>(p); };
  const IdsOf<Id>& there = *ids;
  const py::capsule owner(ids.get(), free);
  static_cast<void>(ids.release());
  return py::array_t<Id>(static_cast<py::ssize_t>(there.size()), there.data(), owner);
}

// (ids [total], offsets int64 [texts + 1])
template <class Id>
py::tuple encode_views(const Encoder& encoder, const std::vector<View>& views, int threads,
                       uint32_t before) {
  std::optional<Batch<Id>> batch;
  {
    const py::gil_scoped_release nogil;
    batch.emplace(encoder, views, threads, before);
  }

  py::array_t<int64_t> offsets(static_cast<py::ssize_t>(views.size() + 1));
  int64_t* const bounds = offsets.mutable_data();
  auto ids = std::make_unique<IdsOf<Id>>();
  {
    const py::gil_scoped_release nogil;
    *ids = batch->take(bounds);
    batch.reset();
  }
  return py::make_tuple(array_of(std::move(ids)), offsets);
}

// `bits`: 16 or 32; `before`: an id that each text begins with.
py::tuple encode_as(const Encoder& encoder, const std::vector<View>& views, int threads, int bits,
                    std::optional<uint32_t> before) {
  const uint32_t first = before.value_or(NO_TOKEN);
  if (bits == 16) return encode_views<uint16_t>(encoder, views, threads, first);
  if (bits == 32) return encode_views<uint32_t>(encoder, views, threads, first);
  throw std::invalid_argument("ids of " + std::to_string(bits) + " bits; expected 16 or 32");
}

py::list encode_one(const Encoder& encoder, const py::object& text) {
  Strings strings;
  strings.add(text);
  Ids ids;
  {
    const py::gil_scoped_release nogil;
    Encoder::Lent<uint32_t> scratch(encoder);
    encoder.encode(strings.views[0], *scratch, ids);
  }

  py::list result(ids.size());
  size_t i = 0;
  for (const uint32_t id : ids) result[i++] = py::int_(id);
  return result;
}

Isa isa_of(int level) {
  const int found = isa_level(level);
  if (found < 0) throw std::invalid_argument(snakelm::NO_SUCH_ISA);
  return static_cast<Isa>(found);
}

std::vector<size_t> piece_lengths(const std::string& pattern, const py::bytes& text, int level) {
  const std::string_view bytes = text;
  const PieceFinder finder(pattern_of(pattern), isa_of(level));
  std::vector<uint32_t> ends(PieceFinder::ROOM);
  std::vector<size_t> lengths;
  const auto* p = reinterpret_cast<Bytes>(bytes.data());
  const Bytes end = p + bytes.size();
  while (p != end) {
    const size_t count = finder.ends(p, static_cast<size_t>(end - p), ends.data());
    for (size_t i = 0; i < count; ++i) lengths.push_back(ends[i] - (i ? ends[i - 1] : 0));
    p += ends[count - 1];
  }
  return lengths;
}

// A property whose reading may have to wait for another thread.
template <class Get>
py::cpp_function without_gil(Get get) {
  return py::cpp_function(get, py::call_guard<py::gil_scoped_release>());
}

Identity identity_of(const py::bytes& sha256) {
  const std::string_view bytes = sha256;
  Identity identity;
  if (bytes.size() != identity.size()) throw std::invalid_argument("expected a SHA-256");
  std::memcpy(identity.data(), bytes.data(), identity.size());
  return identity;
}

std::unique_ptr<Encoder> encoder_of_table(const py::buffer& table, const std::string& pattern,
                                          const py::bytes& sha256, int level) {
  const py::buffer_info file = table.request();
  const View view{static_cast<Bytes>(file.ptr), static_cast<size_t>(file.size * file.itemsize)};
  return std::make_unique<Encoder>(read_table(view, identity_of(sha256)), pattern_of(pattern),
                                   isa_of(level));
}

py::bytes table_of(const std::vector<py::bytes>& tokens, const py::bytes& sha256) {
  const std::vector<std::string_view> views(tokens.begin(), tokens.end());
  const Identity identity = identity_of(sha256);
  const Encoder encoder(views, Pattern::gpt2, best_isa(), seeds_of(identity));  // any pattern's
  return py::bytes(format_table(encoder.vocabulary(), encoder.merge_table(), identity));
}

py::list tokens_of(const Encoder& encoder) {
  const Vocabulary& vocabulary = encoder.vocabulary();
  py::list result(vocabulary.size());
  for (uint32_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view token = vocabulary.token(id);
    result[id] = py::bytes(token.data(), token.size());
  }
  return result;
}

py::array_t<int32_t> token_lengths_of(const Encoder& encoder) {
  const Vocabulary& vocabulary = encoder.vocabulary();
  py::array_t<int32_t> lengths(vocabulary.size());
  int32_t* const length = lengths.mutable_data();
  for (uint32_t id = 0; id < vocabulary.size(); ++id)
    length[id] = static_cast<int32_t>(vocabulary.token(id).size());
  return lengths;
}

template <class T>
using Row = py::array_t<T, py::array::c_style>;

template <class T>
std::vector<T> vector_of(const Row<T>& row) {
  return {row.data(), row.data() + row.size()};
}

template <class Token>
void look(Spans& spans, const Row<Token>& tokens) {
  const Token* const data = tokens.data();
  const auto count = static_cast<size_t>(tokens.size());
  const py::gil_scoped_release nogil;
  spans.look(data, count);
}

py::array_t<bool> occurred_of(const Spans& spans) {
  const std::vector<uint8_t>& occurred = spans.occurred();
  py::array_t<bool> result(static_cast<py::ssize_t>(occurred.size()));
  std::copy(occurred.begin(), occurred.end(), result.mutable_data());
  return result;
}

uint32_t crc32_of(const py::buffer& data, uint32_t crc, bool folding) {
  const py::buffer_info info = data.request();
  if (!PyBuffer_IsContiguous(info.view(), 'C'))
    throw std::invalid_argument("expected contiguous bytes");
  const auto length = static_cast<size_t>(info.size * info.itemsize);
  const py::gil_scoped_release nogil;
  return crc32(static_cast<Bytes>(info.ptr), length, crc, folding);
}

py::list merges_of(const Encoder& encoder) {
  py::list result;
  for (const auto& [left, right] : encoder.merges()) {
    if (left == NO_TOKEN || right == NO_TOKEN)
      result.append(py::none());
    else
      result.append(py::make_tuple(left, right));
  }
  return result;
}

}  // namespace

PYBIND11_MODULE(_text, m) {
  m.doc() = "Byte-level BPE over the named split patterns.";

  py::class_<Encoder>(m, "Encoder")
      .def(
          py::init([](const std::vector<py::bytes>& tokens, const std::string& pattern, int level) {
            std::vector<std::string_view> views(tokens.begin(), tokens.end());
            return std::make_unique<Encoder>(views, pattern_of(pattern), isa_of(level));
          }),
          py::arg("tokens"), py::arg("pattern"), py::arg("level") = -1,
          "tokens[id]: bytes, empty for special and unused ids. level: the instruction set to use, "
          "by its number in common/isa.h; -1: the best one here.")
      .def_static(
          "from_table", &encoder_of_table, py::keep_alive<0, 1>(), py::arg("table"),
          py::arg("pattern"), py::arg("sha256"), py::arg("level") = -1,
          "Of what `table` made for the tokenizer with this SHA-256; ValueError says what is "
          "wrong with it. The memory is read as long as the encoder lives.")
      .def("tokens", &tokens_of, "As the constructor's.")
      .def("token_lengths", &token_lengths_of, "Bytes of each token, int32 [ids].")
      .def("encode", &encode_one, py::arg("text"), "Ids of a str or of bytes.")
      .def(
          "encode_strings",
          [](const Encoder& self, const py::sequence& texts, int threads, int bits,
             std::optional<uint32_t> before) {
            const py::tuple kept(texts);
            const Strings strings = strings_of(kept);
            return encode_as(self, strings.views, threads, bits, before);
          },
          py::arg("texts"), py::arg("threads"), py::arg("bits") = 32,
          py::arg("before") = py::none())
      .def(
          "encode_arrow",
          [](const Encoder& self, const std::vector<ArrowChunk>& chunks, int threads, int bits,
             std::optional<uint32_t> before) {
            return encode_as(self, arrow_views(chunks), threads, bits, before);
          },
          py::arg("chunks"), py::arg("threads"), py::arg("bits") = 32,
          py::arg("before") = py::none())
      .def("merges", &merges_of, "(left, right) per id, or None: see bpe.h.");

  py::class_<Trainer>(m, "Trainer")
      .def(py::init([](const std::string& pattern, int threads, uint64_t most_memory) {
             return std::make_unique<Trainer>(pattern_of(pattern), threads, most_memory);
           }),
           py::arg("pattern"), py::arg("threads"), py::arg("most_memory") = UINT64_MAX,
           "most_memory: bytes. A training that would need more is a ValueError.")
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
      .def(
          "add_word",
          [](Trainer& self, const py::bytes& word, uint64_t count) {
            const std::string_view bytes = word;
            const View view{reinterpret_cast<Bytes>(bytes.data()), bytes.size()};
            const py::gil_scoped_release nogil;
            self.add_piece(view, count);
          },
          py::arg("word"), py::arg("count"), "A piece that occurs `count` times more.")
      .def("train", &Trainer::train, py::arg("merges"), py::call_guard<py::gil_scoped_release>(),
           "At most that many merges as (left id, right id).")
      .def("extend", &Trainer::extend, py::arg("base"), py::arg("first"), py::arg("merges"),
           py::call_guard<py::gil_scoped_release>(),
           "The same beyond the merges of an encoder; the first makes id `first`.")
      .def_property_readonly("bytes", without_gil(&Trainer::bytes))
      .def_property_readonly("pieces", without_gil(&Trainer::pieces))
      .def_property_readonly("distinct_pieces", without_gil(&Trainer::distinct_pieces));

  py::class_<Spans>(m, "Spans")
      .def(py::init([](const Row<uint64_t>& known, size_t length, const Row<uint64_t>& numbers,
                       uint64_t base) {
             return std::make_unique<Spans>(vector_of(known), length, vector_of(numbers), base);
           }),
           py::arg("known"), py::arg("length"), py::arg("numbers"), py::arg("base"),
           "Hashes of spans of `length` tokens, each once; a random number per token id, and the "
           "polynomial's base (csrc/text/spans.h).")
      .def("look", &look<uint16_t>, py::arg("tokens").noconvert(),
           "Marks the spans that occur in tokens, uint16 or uint32 [n].")
      .def("look", &look<uint32_t>, py::arg("tokens").noconvert())
      .def("occurred", &occurred_of, "Which of the known hashes occurred, bool [known].");

  m.def("crc32", &crc32_of, py::arg("data"), py::arg("crc") = 0, py::arg("folding") = true,
        "zlib.crc32; `folding` false: without carry-less products.");
  m.def("table", &table_of, py::arg("tokens"), py::arg("sha256"),
        "The file of an encoder's tables (csrc/text/table.h).");
  m.def("split", &piece_lengths, py::arg("pattern"), py::arg("text"), py::arg("level") = -1,
        "Byte lengths of the pieces of `text`; level: as Encoder's.");
}
