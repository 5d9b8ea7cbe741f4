// Random and damaged bytes through the tokenizer; built with sanitizers by ../test_sanitizers.py.
//
//   fuzz SEED SECONDS
//
// Each input lies in a heap block of exactly its size, so one byte read too far is an error.
// Checked besides: pieces cover the input and are the same on every instruction set, ids are those
// of the definition whatever the caches hold and tokens spell the input, a batch on three threads,
// its texts cut anywhere, equals one text after the other, training on any bytes gives merges that
// spell tokens, chosen words share no hash, spans of tokens are found where they are, both ways to
// a checksum agree, and Arrow's offsets are followed only inside the data. Exit status 1 and a line
// on stderr where one does not hold.
#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../fuzz.h"
#include "text/batch.h"
#include "text/bpe.h"
#include "text/crc32.h"
#include "text/hash.h"
#include "text/spans.h"
#include "text/table.h"
#include "text/trainer.h"

using snakelm::Bytes;
using snakelm::Isa;
using snakelm::isa_runs_here;
using snakelm::View;
using namespace snakelm::text;

namespace {

constexpr size_t PATTERNS = static_cast<size_t>(Pattern::whole) + 1;

// Random fragments between stretches of what the kernels know, ASCII and letters of two bytes, long
// enough for their windows; in some stretches with rare characters of two bytes, in upper case, in
// none, or no letters.
std::string random_text() {
  static constexpr char COMMON[] = "abcXYZ 's't'll'Ve  \n\r\t019.,-_/()\"";
  static constexpr const char* WIDE[] = {
      "д", "Я", "ё", "Ѡ", "é", "É",      "ß", "ω", "Ω", "ł",      "Ł",      "Ґ",    "š",   "ǅ",
      "ª", "ʰ", "ſ", "ش", "٣", "\u0301", "×", "«", "¼", "\u00A0", "\u0085", "\xD0", "\x80"};
  std::string text;
  for (size_t parts = below(6); parts > 0; --parts) {
    if (below(3) == 0) text += random_input();
    const size_t few = 1 + below(std::size(COMMON) - 1);
    const size_t wide = below(2) ? 1 + below(std::size(WIDE)) : 0;
    for (size_t n = below(200); n > 0; --n) {
      if (wide > 0 && below(2))
        text += WIDE[below(below(8) ? std::min<size_t>(wide, 13) : wide)];
      else
        text += COMMON[(below(2) ? below(few) : below(std::size(COMMON) - 1))];
    }
  }
  return text;
}

// The scanner's pieces cover the text, and every level finds the same ones.
void check_pieces(Pattern pattern, const std::string& text) {
  const Block block(text);
  std::vector<size_t> expected;
  size_t covered = 0;
  split(pattern, block.view, [&](Bytes p, size_t length) {
    if (p != block.view.data + covered || length == 0) fail("pieces leave a gap", text);
    expected.push_back(covered += length);
  });
  if (covered != text.size()) fail("pieces end early", text);

  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
    if (!isa_runs_here(isa)) continue;
    const PieceFinder finder(pattern, isa);
    const auto ends = std::make_unique<uint32_t[]>(PieceFinder::ROOM);
    std::vector<size_t> found;
    for (size_t at = 0; at != text.size(); at = found.back()) {
      const size_t count = finder.ends(block.view.data + at, text.size() - at, ends.get());
      if (count == 0 || count > PieceFinder::ROOM) fail("a block of no pieces", text);
      for (size_t i = 0; i < count; ++i) found.push_back(at + ends[i]);
    }
    if (found != expected) fail("a level splits differently", text);
  }
}

std::vector<std::string> train(Pattern pattern) {
  std::vector<Block> blocks;
  std::vector<View> views;
  for (int i = 0; i < 300; ++i) blocks.emplace_back(random_input());
  for (const Block& block : blocks) views.push_back(block.view);
  Trainer trainer(pattern, 2, UINT64_MAX);
  std::thread other([&] { trainer.add({views.begin() + 150, views.end()}); });
  trainer.add({views.begin(), views.begin() + 150});
  if (trainer.distinct_pieces() > trainer.pieces()) fail("pieces are counted wrongly", "");
  other.join();
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
  for (const auto& [left, right] : trainer.train(400))
    tokens.push_back(tokens.at(left) + tokens.at(right));

  const auto half = tokens.begin() + 256 + static_cast<ptrdiff_t>(tokens.size() - 256) / 2;
  const Encoder base({tokens.begin(), half}, Pattern::whole);
  std::vector<std::string> extended(tokens.begin(), half);
  extended.resize(extended.size() + below(3));  // ids of special tokens
  for (const auto& [left, right] :
       trainer.extend(base, static_cast<uint32_t>(extended.size()), 100))
    extended.push_back(extended.at(left) + extended.at(right));
  std::erase(extended, std::string());
  if (std::set(extended.begin(), extended.end()).size() != extended.size())
    fail("a vocabulary is extended by what it has", "");
  return tokens;
}

// tiktoken's definition, word for word.
std::vector<uint32_t> merged_by_bytes(const Vocabulary& vocabulary, const std::string& piece) {
  const auto id = [&](size_t from, size_t to) {
    return vocabulary.find(reinterpret_cast<Bytes>(piece.data()) + from, to - from);
  };
  if (id(0, piece.size()) != NO_TOKEN) return {id(0, piece.size())};
  std::vector<size_t> bounds;
  for (size_t i = 0; i <= piece.size(); ++i) bounds.push_back(i);
  while (true) {
    uint32_t best = NO_TOKEN;
    size_t at = 0;
    for (size_t i = 0; i + 2 < bounds.size(); ++i) {
      const uint32_t rank = id(bounds[i], bounds[i + 2]);
      if (rank < best) best = rank, at = i;
    }
    if (best == NO_TOKEN) break;
    bounds.erase(bounds.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
  std::vector<uint32_t> ids;
  for (size_t i = 0; i + 1 < bounds.size(); ++i) ids.push_back(id(bounds[i], bounds[i + 1]));
  return ids;
}

std::vector<uint32_t> expected_ids(const Encoder& encoder, Pattern pattern,
                                   const std::string& text) {
  std::vector<uint32_t> ids;
  split(pattern, {reinterpret_cast<Bytes>(text.data()), text.size()}, [&](Bytes p, size_t length) {
    const std::string piece(reinterpret_cast<const char*>(p), length);
    for (const uint32_t id : merged_by_bytes(encoder.vocabulary(), piece)) ids.push_back(id);
  });
  return ids;
}

// Caches of all sizes, down to a few entries, and with hashes of few bits, so that all collides.
CacheLimits random_limits() {
  CacheLimits limits;
  if (below(2)) limits.word_bytes = 64 << below(8);
  if (below(2)) limits.long_bytes = 512 << below(8);
  if (below(2)) limits.hash_mask = (uint64_t{1} << below(6)) - 1;
  return limits;
}

// The batch on one thread or three, cut into tasks of a few bytes, is one text after the other.
template <class Id>
void check_batch(const Encoder& encoder, const std::vector<View>& views,
                 const std::vector<std::vector<uint32_t>>& expected) {
  const uint32_t before = below(2) ? NO_TOKEN : 7;
  Batch<Id> batch(encoder, views, below(3) ? 3 : 1, before, 1 + below(64));
  std::vector<int64_t> offsets(views.size() + 1);
  const IdsOf<Id> ids = batch.take(offsets.data());

  std::vector<Id> all;
  for (size_t i = 0; i < views.size(); ++i) {
    if (offsets[i] != static_cast<int64_t>(all.size())) fail("a text begins elsewhere", "");
    if (before != NO_TOKEN) all.push_back(static_cast<Id>(before));
    all.insert(all.end(), expected[i].begin(), expected[i].end());
  }
  if (offsets.back() != static_cast<int64_t>(all.size())) fail("the last text ends elsewhere", "");
  if (!std::equal(ids.begin(), ids.end(), all.begin(), all.end()))
    fail("a cut or a thread changes the ids", "");
}

// One text after the other with ids of one width, each twice: the second pass knows the words.
template <class Id>
void check_texts(const Encoder& encoder, const std::vector<View>& views,
                 const std::vector<std::vector<uint32_t>>& expected) {
  const CacheLimits limits = random_limits();
  const auto scratch = std::make_unique<Scratch<Id>>(limits);
  for (size_t i = 0; i < views.size(); ++i) {
    const std::string text(reinterpret_cast<const char*>(views[i].data), views[i].length);
    for (int pass = 0; pass < 2; ++pass) {
      IdsOf<Id> ids;
      encoder.encode(views[i], *scratch, ids);
      if (!std::equal(ids.begin(), ids.end(), expected[i].begin(), expected[i].end()))
        fail("ids are not those of the definition", text);
    }
    if (scratch->words.bytes() > limits.word_bytes * 3 / 2 + (1 << 12) ||
        scratch->long_words.bytes() > limits.long_bytes + (1 << 14))
      fail("a cache exceeds its bound", text);
  }
}

void check_ids(const Encoder& encoder, Pattern pattern) {
  std::vector<std::string> texts;
  std::vector<Block> blocks;
  std::vector<View> views;
  for (int i = 0; i < 40; ++i) texts.push_back(below(2) ? random_input() : random_text());
  texts.emplace_back();  // one long enough to be cut often
  for (int i = 0; i < 20; ++i) texts.back() += random_input();
  if (pattern == Pattern::whole) {  // the definition is quadratic in a piece
    for (std::string& text : texts) text.resize(std::min<size_t>(text.size(), 150));
  }
  for (const std::string& text : texts) blocks.emplace_back(text);
  for (const Block& block : blocks) views.push_back(block.view);

  std::vector<std::vector<uint32_t>> all;
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::vector<uint32_t> expected = expected_ids(encoder, pattern, texts[i]);
    std::string spelled;
    for (const uint32_t id : expected) spelled += encoder.vocabulary().token(id);
    if (spelled != texts[i]) fail("tokens do not spell the text", texts[i]);
    all.push_back(expected);
  }

  check_texts<uint16_t>(encoder, views, all);
  check_texts<uint32_t>(encoder, views, all);
  check_batch<uint16_t>(encoder, views, all);
  check_batch<uint32_t>(encoder, views, all);
}

// Words that had one hash before hashes were seeded: a factor of their product was 0.
void check_chosen_words() {
  constexpr uint64_t K0 = 0x9E3779B97F4A7C15, K1 = 0xD6E8FEB86659FD93;
  std::set<uint64_t> hashes;
  constexpr size_t EACH = 500;
  for (size_t i = 0; i < EACH; ++i) {
    const uint64_t first[] = {16 * K0 ^ K1, source()}, last[] = {source(), K0};
    const uint64_t middle[] = {source(), K1, 1, 2};
    hashes.insert(hash_bytes(reinterpret_cast<Bytes>(first), sizeof first));
    hashes.insert(hash_bytes(reinterpret_cast<Bytes>(last), sizeof last));
    hashes.insert(hash_bytes(reinterpret_cast<Bytes>(middle), sizeof middle));
  }
  if (hashes.size() != 3 * EACH) fail("chosen words have one hash", "");
}

// A damaged table is refused; one that was made to mislead is refused or stays within its memory.
void check_table(const Encoder& encoder, Pattern pattern) {
  Identity identity;
  for (uint8_t& byte : identity) byte = static_cast<uint8_t>(source());
  const Vocabulary& vocabulary = encoder.vocabulary();
  std::vector<std::string_view> tokens;
  for (uint32_t id = 0; id < vocabulary.size(); ++id) tokens.push_back(vocabulary.token(id));
  const Encoder built(tokens, pattern, Isa::portable, seeds_of(identity));
  const std::string good = format_table(built.vocabulary(), built.merge_table(), identity);

  for (int i = 0; i < 12; ++i) {
    std::string file = good;
    const bool lie = below(2), cut = i > 0 && below(4) == 0;
    for (size_t changes = i ? 1 + below(3) : 0; changes > 0; --changes) {
      const size_t at = below(3) ? below(file.size()) : below(200);
      file[at] = static_cast<char>(file[at] ^ (1 + below(255)));
    }
    if (cut) file.resize(below(file.size()));
    if (lie && file.size() > 200) seal(file);
    struct alignas(64) Line {
      char bytes[64];
    };
    std::vector<Line> memory(file.size() / sizeof(Line) + 1);
    if (!file.empty()) std::memcpy(memory.data(), file.data(), file.size());
    const View view{reinterpret_cast<Bytes>(memory.data()), file.size()};
    try {
      const Encoder loaded(read_table(view, identity), pattern);
      if (i > 0 && !lie && file != good) fail("a damaged table is taken", "");
      const auto scratch = std::make_unique<Scratch<uint32_t>>();
      for (int texts = 0; texts < 10; ++texts) {
        const std::string text = random_text();
        Ids ids, expected;
        loaded.encode({reinterpret_cast<Bytes>(text.data()), text.size()}, *scratch, ids);
        if (i > 0) continue;
        const auto other = std::make_unique<Scratch<uint32_t>>();
        encoder.encode({reinterpret_cast<Bytes>(text.data()), text.size()}, *other, expected);
        if (!(ids == expected)) fail("a table changes the ids", text);
      }
    } catch (const std::invalid_argument& error) {
      if (i == 0) fail(error.what(), "");
    }
  }
}

// Spans found by rolling hash are those of a search by tokens, wherever the stream is cut.
template <class Token>
void check_spans() {
  constexpr uint64_t BASE = 0xD6E8FEB86659FD93;
  const size_t length = 1 + below(20), ids = 1 + below(3);
  std::vector<uint64_t> numbers(ids);
  for (uint64_t& number : numbers) number = source();
  std::vector<Token> stream(below(3000));
  for (Token& token : stream) token = static_cast<Token>(below(ids));

  std::set<std::vector<Token>> there, wanted;
  for (size_t i = 0; i + length <= stream.size(); ++i) {
    const auto first = stream.begin() + static_cast<ptrdiff_t>(i);
    there.insert({first, first + static_cast<ptrdiff_t>(length)});
    if (below(4) == 0) wanted.insert({first, first + static_cast<ptrdiff_t>(length)});
  }
  for (size_t i = below(50); i > 0; --i) {
    std::vector<Token> span(length);
    for (Token& token : span) token = static_cast<Token>(below(ids));
    wanted.insert(span);
  }

  std::vector<uint64_t> known;
  for (const std::vector<Token>& span : wanted) {
    uint64_t hash = 0;
    for (const Token token : span) hash = hash * BASE + numbers[token];
    known.push_back(hash);
  }
  Spans spans(known, length, numbers, BASE);
  for (size_t first = 0, count; first < stream.size(); first += count) {
    count = 1 + below(2000);
    const size_t read = std::min(count + length - 1, stream.size() - first);
    spans.look(std::vector<Token>(stream.begin() + static_cast<ptrdiff_t>(first),
                                  stream.begin() + static_cast<ptrdiff_t>(first + read))
                   .data(),
               read);
  }
  size_t i = 0;
  for (const std::vector<Token>& span : wanted) {
    if (spans.occurred()[i++] != there.count(span)) fail("a span is found wrongly", "");
  }
}

// Both ways to a checksum give one result, for a text in two parts as for the whole.
void check_crc() {
  const std::string text = random_input();
  const Block whole(text);
  const size_t cut = below(text.size() + 1);
  const Block first(text.substr(0, cut)), second(text.substr(cut));
  const uint32_t by_tables = crc32(whole.view.data, whole.view.length, 0, false);
  const uint32_t before = crc32(first.view.data, first.view.length, 0);
  if (crc32(second.view.data, second.view.length, before) != by_tables)
    fail("checksums differ", text);
}

// Offsets as a damaged or cut file has them, at any address: views lie in the data, or none come.
template <class Offset>
void check_arrow() {
  const std::string data = random_input();
  const Block block(data);
  const size_t rows = below(6), shift = below(8);
  const auto memory = std::make_unique<char[]>(shift + (rows + 1) * sizeof(Offset));
  Offset at = 0;
  for (size_t i = 0; i <= rows; ++i) {
    if (i) at += static_cast<Offset>(below(data.size() / (rows + 1) + 1));
    const Offset damaged = below(30) ? at : static_cast<Offset>(source());
    std::memcpy(memory.get() + shift + i * sizeof(Offset), &damaged, sizeof(Offset));
  }

  const auto address = [](const void* p) { return reinterpret_cast<uintptr_t>(p); };
  const snakelm::ArrowChunk chunk{
      address(block.view.data), data.size(), address(memory.get() + shift),
      sizeof(Offset),           0,           rows};
  try {
    for (const View& view : snakelm::arrow_views({chunk})) {
      const std::vector<uint8_t> copy(view.data, view.data + view.length);
      if (copy.size() > data.size()) fail("a view is longer than the data", data);
    }
  } catch (const std::invalid_argument&) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_fuzzer(argc, argv, [] {
    const Pattern pattern = static_cast<Pattern>(below(PATTERNS));
    const std::vector<std::string> tokens = train(pattern);
    static constexpr Isa LEVELS[] = {Isa::portable, Isa::avx2, Isa::avx512};
    const Isa isa = LEVELS[below(3)];
    const Encoder encoder({tokens.begin(), tokens.end()}, pattern,
                          isa_runs_here(isa) ? isa : Isa::portable);
    if (encoder.merges().size() != tokens.size()) fail("merges and tokens differ in number", "");

    check_chosen_words();
    check_table(encoder, pattern);
    check_spans<uint16_t>(), check_spans<uint32_t>();
    for (int i = 0; i < 20; ++i) {
      check_ids(encoder, pattern), check_crc(), check_arrow<int32_t>(), check_arrow<int64_t>();
      const std::string text = below(2) ? random_input() : random_text();
      for (size_t j = 0; j < PATTERNS; ++j) check_pieces(static_cast<Pattern>(j), text);
    }

    // Vocabularies that no training gives: tokens that nothing merges to, parts with higher ids.
    std::vector<std::string> odd = tokens;
    if (below(2)) std::shuffle(odd.begin() + static_cast<ptrdiff_t>(below(257)), odd.end(), source);
    const size_t first = below(257), kept = first + below(odd.size() - first + 1);
    odd.erase(std::remove_if(odd.begin() + static_cast<ptrdiff_t>(first), odd.end(),
                             [&](const std::string& token) {
                               return token.size() > 1 && below(odd.size()) > kept;
                             }),
              odd.end());
    check_ids(Encoder({odd.begin(), odd.end()}, pattern), pattern);
  });
}
