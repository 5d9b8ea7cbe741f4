// Random and damaged bytes for the fuzzers of csrc/text and csrc/dedup, and how they report.
#pragma once

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <random>
#include <string>

#include "common/texts.h"

inline std::mt19937_64 source;

inline size_t below(size_t n) { return static_cast<size_t>(source() % n); }

[[noreturn]] inline void fail(const char* what, const std::string& input) {
  std::fprintf(stderr, "%s; input:", what);
  for (const char c : input) std::fprintf(stderr, " %02x", static_cast<unsigned char>(c));
  std::fprintf(stderr, "\n");
  std::exit(1);
}

inline const char* const FRAGMENTS[] = {
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "'s",
    "'LL",
    "'\xC5\xBF",
    "abc",
    "ABC",
    "Abc",
    "1234",
    "!",
    "/",
    "\xCC\x81",
    "\xCC\xA3",
    "\xCD\x85",
    "i\xCC\x87",
    "\xC4\xB0",
    "\xC3\xA9",
    "\xEF\xB7\xBA",
    "\xED\x95\x9C",
    "\xE2\x80\x8B",
    "\xE2\x80\x99",
    "\xCA\xB0",
    "\xE6\xBC\xA2",
    "\xF0\x9F\x99\x82",
    "\xC2\xA0",
    "\xE3\x80\x80",
    "\xC2\xBD",
    "\xED\xA0\x80",
    "\xC0\xAF",
    "\xF4\x90\x80\x80",
    "\xC3",
    "\xE6\xBC",
    "\xF0\x9F\x99",
    "\xFF",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

inline std::string random_input() {
  std::string text;
  const size_t parts = below(below(8) == 0 ? 200 : 12);
  for (size_t i = 0; i < parts; ++i) {
    if (below(5) == 0)
      text += static_cast<char>(source());
    else
      text += FRAGMENTS[below(std::size(FRAGMENTS))];
  }
  for (size_t cut = below(3); cut > 0 && !text.empty(); --cut) {  // mutate: change, drop or cut off
    const size_t at = below(text.size());
    switch (below(3)) {
      case 0: text[at] = static_cast<char>(source()); break;
      case 1: text.erase(at, 1); break;
      default: text.resize(at);
    }
  }
  return text;
}

struct Block {  // exactly as long as the text, so that the sanitizer sees what lies beyond it
  explicit Block(const std::string& text)
      : bytes(new uint8_t[text.size()]), view{bytes.get(), text.size()} {
    if (!text.empty()) std::memcpy(bytes.get(), text.data(), text.size());
  }
  std::unique_ptr<uint8_t[]> bytes;
  snakelm::View view;
};

// main of a fuzzer: `fuzz SEED SECONDS` repeats round() for that long, once at least.
template <class Round>
int run_fuzzer(int argc, char** argv, Round round) {
  if (argc != 3) return std::fprintf(stderr, "usage: fuzz SEED SECONDS\n"), 2;
  source.seed(std::strtoull(argv[1], nullptr, 10));

  const auto begin = std::chrono::steady_clock::now();
  const auto end = begin + std::chrono::duration<double>(std::atof(argv[2]));
  size_t rounds = 0;
  for (; rounds == 0 || std::chrono::steady_clock::now() < end; ++rounds) round();

  std::printf("%zu rounds\n", rounds);
  return 0;
}
