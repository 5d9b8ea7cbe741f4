// snakelm._dedup: shingles, MinHash signatures and near duplicates for Python. Thin: it turns
// Arrow's and numpy's memory into views, drops the GIL and calls the library. Apart from
// snakelm._text, so that editing the one doesn't rerun the steps that use the other.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>

#include "common/texts.h"
#include "dedup/minhash.h"
#include "dedup/shingles.h"

namespace py = pybind11;
using snakelm::arrow_views;
using snakelm::ArrowChunk;
using snakelm::View;
namespace dedup = snakelm::dedup;

namespace {

constexpr size_t MOST_WORDS = 1000;  // of a shingle: memory and time of every text grow with it
constexpr size_t MOST_PERMUTATIONS = 0xFFFF;

void check_length(size_t length) {
  if (length < 1 || length > MOST_WORDS) {
    throw std::invalid_argument("a shingle of " + std::to_string(length) +
                                " words; expected 1 to " + std::to_string(MOST_WORDS));
  }
}

// (hashes uint64 [total], offsets int64 [texts + 1])
py::tuple shingle_hashes(const std::vector<ArrowChunk>& chunks, size_t length, int threads) {
  check_length(length);
  const std::vector<View> views = arrow_views(chunks);
  dedup::Shingles made;
  {
    const py::gil_scoped_release nogil;
    made = dedup::shingles(views, length, threads);
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
py::array_t<uint32_t> minhash(const std::vector<ArrowChunk>& chunks, size_t length,
                              size_t permutations, int threads) {
  check_length(length);
  if (permutations < 1 || permutations > MOST_PERMUTATIONS) {
    throw std::invalid_argument(std::to_string(permutations) + " permutations; expected 1 to " +
                                std::to_string(MOST_PERMUTATIONS));
  }
  const std::vector<View> views = arrow_views(chunks);
  py::array_t<uint32_t> out({views.size(), permutations});
  uint32_t* data = out.mutable_data();
  const py::gil_scoped_release nogil;
  dedup::signatures(views, length, permutations, threads, data);
  return out;
}

// Words as Python's strings, as a dedup::Reader's output.
struct WordList {
  py::list words;
  std::u32string word;
  void letter(uint32_t code) {
    word += code < snakelm::CODE_POINTS ? static_cast<char32_t>(code) : U'\uFFFD';
  }
  snakelm::Bytes ascii(snakelm::Bytes p, snakelm::Bytes end) {
    do word += dedup::WORD_BYTES[*p++];
    while (p != end && dedup::WORD_BYTES[*p]);
    return p;
  }
  void finish() {
    words.append(py::cast(word));
    word.clear();
  }
};

py::list words_of(const py::bytes& text) {
  const std::string_view bytes = text;
  WordList made;
  dedup::Reader(made).read({reinterpret_cast<snakelm::Bytes>(bytes.data()), bytes.size()});
  return made.words;
}

template <class T>
using Array = py::array_t<T, py::array::c_style>;

// See minhash.h. Shapes are checked here, what links and rows lead to where they are followed.
size_t drop_near_duplicates(Array<uint32_t> links, const Array<uint16_t>& signatures,
                            const Array<uint32_t>& rows, Array<uint32_t> state, size_t first,
                            size_t last, size_t min_equal, size_t bucket_limit) {
  const auto size = [](const py::array& array, int axis) {
    return static_cast<size_t>(array.shape(axis));
  };
  if (links.ndim() != 2 || signatures.ndim() != 2 || rows.ndim() != 1 || state.ndim() != 1 ||
      size(links, 1) != size(rows, 0) || size(state, 0) != size(rows, 0) ||
      size(signatures, 1) > MOST_PERMUTATIONS || first > last || last > size(rows, 0) ||
      size(rows, 0) >= dedup::NO_LINK) {
    throw std::invalid_argument(
        "drop_near_duplicates: links [bands, n], signatures [rows, permutations], rows [n], state "
        "[n]");
  }

  const dedup::Candidates all{size(rows, 0),       size(links, 0),       size(signatures, 1),
                              size(signatures, 0), links.mutable_data(), signatures.data(),
                              rows.data(),         state.mutable_data()};
  const py::gil_scoped_release nogil;
  return dedup::drop_near_duplicates(all, first, last, min_equal, bucket_limit);
}

}  // namespace

PYBIND11_MODULE(_dedup, m) {
  m.doc() = "Shingles, MinHash signatures and near duplicates of texts.";

  m.def("shingles", &shingle_hashes, py::arg("chunks"), py::arg("length"), py::arg("threads"),
        "(hashes uint64 [total], offsets int64 [texts + 1])");
  m.def("signatures", &minhash, py::arg("chunks"), py::arg("length"), py::arg("permutations"),
        py::arg("threads"), "uint32 [texts, permutations]");
  m.def("words", &words_of, py::arg("text"),
        "The words of UTF-8 bytes in the form in which they are compared: see normal_form.h.");
  m.def("drop_near_duplicates", &drop_near_duplicates, py::arg("links").noconvert(),
        py::arg("signatures").noconvert(), py::arg("rows").noconvert(),
        py::arg("state").noconvert(), py::arg("first"), py::arg("last"), py::arg("min_equal"),
        py::arg("bucket_limit"),
        "Decides on the documents [first, last): marks those that go in state and counts them.");
}
