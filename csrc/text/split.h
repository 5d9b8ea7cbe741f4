// The named split patterns as hand-written scanners: exactly the pieces that tiktoken 0.14 gives
// for their regular expressions.
//
// next(p, end) returns the end of the piece that starts at p < end. Pieces cover the text without
// gaps. Every scanner is linear: what a piece scans beyond its own end is scanned at most once
// more. The regular expressions, with their alternatives in order, stand above each scanner; each
// `if` below is one alternative.
//
// Letters of the comments: L, N, M as in \p{.}; S = [^\s\p{L}\p{N}] (symbols, marks included).
#pragma once

#include "common/texts.h"
#include "text/unicode.h"

namespace snakelm::text {

struct Whitespace {
  Bytes end;            // end of the run
  Bytes last;           // start of its last character
  Bytes after_newline;  // end of its last \r or \n, or nullptr
};

inline Whitespace scan_whitespace(Bytes p, Bytes end) {
  Whitespace run{p, p, nullptr};
  for (Char c = read_char(p, end); c.length && c.kind == SPACE; c = read_char(run.end, end)) {
    run.last = run.end;
    run.end += c.length;
    if (*run.last == '\r' || *run.last == '\n') run.after_newline = run.end;
  }
  return run;
}

// \s+(?!\S) | \s : a run before a word leaves its last character to the word.
inline Bytes leave_last(const Whitespace& run, Bytes p, Bytes end) {
  return run.end == end || run.last == p ? run.end : run.last;
}

template <class Accept>
inline Bytes skip_while(Bytes p, Bytes end, Accept accept) {
  for (Char c = read_char(p, end); c.length && accept(c.kind); c = read_char(p, end)) p += c.length;
  return p;
}

inline Bytes skip_letters(Bytes p, Bytes end) { return skip_while(p, end, is_letter); }
inline Bytes skip_symbols(Bytes p, Bytes end) { return skip_while(p, end, is_symbol); }

// \p{N}{1,most}
inline Bytes skip_numbers(Bytes p, Bytes end, int most) {
  for (int i = 0; i < most; ++i) {
    const Char c = read_char(p, end);
    if (!c.length || c.kind != NUMBER) break;
    p += c.length;
  }
  return p;
}

inline bool is_newline(uint8_t b) { return b == '\r' || b == '\n'; }

// Length of '(?:[sdmt]|ll|ve|re) at p, or 0. With `fold`, (?i:...): upper case, and U+017F (long
// s), which folds to s.
inline size_t contraction(Bytes p, Bytes end, bool fold) {
  const size_t left = static_cast<size_t>(end - p);
  if (left < 2 || *p != '\'') return 0;
  const uint8_t mask =
      fold ? 0x20 : 0;  // sets the lower-case bit of the letters compared with below
  const uint8_t a = p[1] | mask;
  if (a == 's' || a == 'd' || a == 'm' || a == 't') return 2;
  if (left < 3) return 0;
  if (fold && p[1] == 0xC5 && p[2] == 0xBF) return 3;
  const uint8_t b = p[2] | mask;
  return (a == 'l' && b == 'l') || (a == 'v' && b == 'e') || (a == 'r' && b == 'e') ? 3 : 0;
}

// '(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s
struct Gpt2 {
  static Bytes next(Bytes p, Bytes end) {
    if (const size_t n = contraction(p, end, false)) return p + n;
    Bytes start = p;
    Char c = read_char(p, end);
    if (*p == ' ') {
      const Char after = read_char(p + 1, end);
      if (after.length && after.kind != SPACE) start = p + 1, c = after;
    }
    if (is_letter(c.kind)) return skip_letters(start + c.length, end);
    if (c.kind == NUMBER)
      return skip_while(start + c.length, end, [](Class k) { return k == NUMBER; });
    if (c.kind != SPACE) return skip_symbols(start + c.length, end);
    return leave_last(scan_whitespace(p, end), p, end);
  }
};

// ['\u2019](?=[\p{L}\p{N}]) : the apostrophe of an elision, if there is one at p.
inline Bytes skip_elision(Bytes p, Bytes end) {
  const size_t left = static_cast<size_t>(end - p);
  size_t apostrophe = 0;
  if (left > 0 && *p == '\'') apostrophe = 1;
  if (left > 2 && p[0] == 0xE2 && p[1] == 0x80 && p[2] == 0x99) apostrophe = 3;
  if (apostrophe == 0) return p;
  const Char after = read_char(p + apostrophe, end);
  return after.length && (is_letter(after.kind) || after.kind == NUMBER) ? p + apostrophe : p;
}

enum class Apostrophe {
  contraction,  // begins '(?i:[sdmt]|ll|ve|re)
  elision,      // ends the word before it: l'|amico, qu'|il
};
enum class LastSpace {
  whole,  // \s++$ first: white space that ends the text is one piece
  lines,  // it is split after its last line break, as elsewhere
};

// With n = DIGITS, and a word's beginning or end by APOSTROPHE:
// '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}| ?[^\s\p{L}\p{N}]+[\r\n]*
// |\s++$|\s*[\r\n]+|\s+(?!\S)|\s+
// or, without the first alternative, [^\r\n\p{L}\p{N}]?\p{L}+(?:['\u2019](?=[\p{L}\p{N}]))?
template <int DIGITS, Apostrophe APOSTROPHE, LastSpace LAST>
struct Words {
  static Bytes next(Bytes p, Bytes end) {
    if constexpr (APOSTROPHE == Apostrophe::contraction) {
      if (const size_t n = contraction(p, end, true)) return p + n;
    }
    const Char c = read_char(p, end);
    if (is_letter(c.kind)) return word(p + c.length, end);
    if (c.kind == NUMBER) return skip_numbers(p, end, DIGITS);
    const Char after = read_char(p + c.length, end);
    if (after.length && is_letter(after.kind) && !is_newline(*p))
      return word(p + c.length + after.length, end);
    const bool leads = *p == ' ' && after.length && is_symbol(after.kind);
    if (leads || is_symbol(c.kind)) {
      Bytes q = skip_symbols(p + c.length, end);
      while (q != end && is_newline(*q)) ++q;
      return q;
    }
    const Whitespace run = scan_whitespace(p, end);
    const bool whole = LAST == LastSpace::whole && run.end == end;
    if (run.after_newline && !whole) return run.after_newline;
    return leave_last(run, p, end);
  }

 private:
  static Bytes word(Bytes p, Bytes end) {
    p = skip_letters(p, end);
    return APOSTROPHE == Apostrophe::elision ? skip_elision(p, end) : p;
  }
};

struct Cl100k : Words<3, Apostrophe::contraction, LastSpace::whole> {};
struct Llama3 : Words<3, Apostrophe::contraction, LastSpace::lines> {};
struct Qwen2 : Words<1, Apostrophe::contraction, LastSpace::lines> {};
struct Nanochat : Words<2, Apostrophe::contraction, LastSpace::lines> {};
struct Elision : Words<3, Apostrophe::elision, LastSpace::lines> {};

// Texts that were split by someone else: each is one piece.
struct Whole {
  static Bytes next(Bytes, Bytes end) { return end; }
};

// With U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], W = [\p{Ll}\p{Lm}\p{Lo}\p{M}], C =
// (?i:'s|'t|'re|'ve|'m|'ll|'d):
// [^\r\n\p{L}\p{N}]?U*W+C?|[^\r\n\p{L}\p{N}]?U+W*C?|\p{N}{1,3}|
// ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
struct O200k {
  static Bytes next(Bytes p, Bytes end) {
    const Char c = read_char(p, end);
    if (is_letter(c.kind)) {
      Word word = scan_word(p, end);
      return with_contraction(word.cased ? word.cased : word.upper, end);
    }
    if (c.kind == NUMBER) return skip_numbers(p, end, 3);
    if (!is_newline(*p)) {
      const Word word = scan_word(p + c.length, end);
      if (word.cased) return with_contraction(word.cased, end);
      // A mark is optional prefix or W: where nothing after it is in W, backtracking makes it the
      // whole word.
      if (c.kind == MARK) return with_contraction(p + c.length, end);
      if (word.upper != p + c.length) return with_contraction(word.upper, end);
    }
    const Char after = read_char(p + c.length, end);
    const bool leads = *p == ' ' && after.length && is_symbol(after.kind);
    if (leads || is_symbol(c.kind)) {
      Bytes q = skip_symbols(p + c.length, end);
      while (q != end && (is_newline(*q) || *q == '/')) ++q;
      return q;
    }
    const Whitespace run = scan_whitespace(p, end);
    return run.after_newline ? run.after_newline : leave_last(run, p, end);
  }

 private:
  struct Word {
    Bytes cased;  // end of U*W+ from the start, or nullptr where that does not match
    Bytes upper;  // end of U* from the start
  };

  // U* is greedy and gives back until W+ matches: behind it if a lower-case letter follows, else at
  // the last character of the run that is in both sets, where W+ is that one character.
  static Word scan_word(Bytes p, Bytes end) {
    Word word{nullptr, p};
    Char c = read_char(p, end);
    for (; c.length && in_upper(c.kind); c = read_char(word.upper, end)) {
      word.upper += c.length;
      if (c.kind != UPPER) word.cased = word.upper;
    }
    if (c.length && c.kind == LOWER) word.cased = skip_while(word.upper + c.length, end, in_lower);
    return word;
  }

  static bool in_upper(Class k) { return k == UPPER || k == CASELESS || k == MARK; }
  static bool in_lower(Class k) { return k == LOWER || k == CASELESS || k == MARK; }
  static Bytes with_contraction(Bytes p, Bytes end) { return p + contraction(p, end, true); }
};

enum class Pattern { gpt2, cl100k, o200k, llama3, qwen2, nanochat, elision, whole };

// Calls use(scanner) with the one of a pattern that is known at run time only.
template <class Use>
inline auto with_scanner(Pattern pattern, Use use) {
  switch (pattern) {
    case Pattern::gpt2: return use(Gpt2{});
    case Pattern::cl100k: return use(Cl100k{});
    case Pattern::o200k: return use(O200k{});
    case Pattern::llama3: return use(Llama3{});
    case Pattern::qwen2: return use(Qwen2{});
    case Pattern::nanochat: return use(Nanochat{});
    case Pattern::elision: return use(Elision{});
    case Pattern::whole: break;
  }
  return use(Whole{});
}

// Calls visit(start, length in bytes) for every piece of text[0, length).
template <class Split, class Visit>
inline void each_piece(Bytes text, size_t length, Visit visit) {
  const Bytes end = text + length;
  for (Bytes p = text; p != end;) {
    const Bytes q = Split::next(p, end);
    visit(p, static_cast<size_t>(q - p));
    p = q;
  }
}

template <class Visit>
inline void split(Pattern pattern, View text, Visit visit) {
  with_scanner(pattern,
               [&]<class Split>(Split) { each_piece<Split>(text.data, text.length, visit); });
}

}  // namespace snakelm::text
