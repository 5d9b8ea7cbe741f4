// The words of a text in the form in which texts are compared: what a page is set in, or a program
// made of its characters, must not hide that two texts are the same. It is never written anywhere.
//
// A word is a run of letters, digits and marks, and everything else separates, spaces and
// punctuation of all kinds alike. The form is Unicode's NFKC_Casefold (UAX #44), decomposed:
// capitals of all scripts are small, composed and decomposed characters are equal, as are
// full-width letters and ligatures and what they stand for, and invisible characters (soft hyphens,
// zero-width ones, directions) are left out. generate_normal_form.py has the decisions beyond it.
// A character from U+3000 to U+EFFF begins a word of its own, and so does a Hangul syllable's first
// jamo, because Chinese, Japanese and Korean are written without spaces, or with few.
//
// One pass and no copy of the text: ASCII has a loop of its own, for other characters a table says
// what they become. A byte that is not UTF-8 is a letter unlike all others.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "common/texts.h"
#include "common/utf8.h"

namespace snakelm::dedup {

// What a character does to the word that is being read. Shared with generate_normal_form.py.
enum Kind : uint8_t {
  SEPARATOR,  // ends it
  IGNORED,
  LETTER,    // continues it
  OWN_WORD,  // ends it and begins the next
  MARK,      // continues it, in the order of combining classes; without a word it is ignored
  SEQUENCE,  // becomes several characters
  HANGUL,    // becomes two or three, by arithmetic
};

// kind | code point << 3 | combining class << 24; of a SEQUENCE: kind | place in SEQUENCES << 3 |
// length << 24.
using Becomes = uint32_t;

constexpr uint32_t TABLED = 0x40000;
extern const Becomes* const BECOMES;    // [TABLED]
extern const Becomes* const SEQUENCES;  // none of its items is a SEQUENCE

inline Kind kind_of(Becomes one) { return static_cast<Kind>(one & 7); }
inline uint32_t value_of(Becomes one) { return one >> 3 & 0x1FFFFF; }
inline uint32_t class_of(Becomes one) { return one >> 24; }

inline Becomes becomes(uint32_t code) {
  if (code < TABLED) return BECOMES[code];
  if (code >= 0xF0000 && code < CODE_POINTS) return SEPARATOR;  // private use
  if (code >= 0xE0000 && code < 0xE1000) return IGNORED;        // tags, variation selectors
  return LETTER | code << 3;                                    // unassigned, or no character
}

// ASCII byte -> lower-cased byte, 0 where it is no part of a word; 0 for all other bytes.
constexpr std::array<uint8_t, 256> word_bytes() {
  std::array<uint8_t, 256> table{};
  for (int b = '0'; b <= '9'; ++b) table[b] = static_cast<uint8_t>(b);
  for (int b = 'a'; b <= 'z'; ++b) table[b] = table[b - 'a' + 'A'] = static_cast<uint8_t>(b);
  return table;
}
inline constexpr std::array<uint8_t, 256> WORD_BYTES = word_bytes();

// Reads the words of texts into an Out, which has
//   void letter(uint32_t code)        takes the next letter of a word,
//   Bytes ascii(Bytes p, Bytes end)   the same for the ASCII letters from p on; returns their end,
//   void finish()                     the end of the word.
template <class Out>
class Reader {
 public:
  explicit Reader(Out& out) : out_(out) {}

  void read(View text) {
    const Bytes end = text.data + text.length;
    for (Bytes p = text.data; p != end;) p = *p < 0x80 ? read_ascii(p, end) : read_other(p, end);
    end_word();
  }

 private:
  Bytes read_ascii(Bytes p, Bytes end) {
    do {
      if (WORD_BYTES[*p]) {
        settle();
        p = out_.ascii(p, end);
        inside_ = true, base_ = WORD_BYTES[p[-1]];
      } else {
        end_word();
        ++p;
      }
    } while (p != end && *p < 0x80);
    return p;
  }

  Bytes read_other(Bytes p, Bytes end) {
    do {
      const Decoded c = decode_multibyte(p, end);
      p += c.length;
      const Becomes one = becomes(c.code);
      if (kind_of(one) == SEQUENCE) {
        for (uint32_t i = 0; i < class_of(one); ++i) add(SEQUENCES[value_of(one) + i]);
      } else {
        add(one);
      }
    } while (p != end && *p >= 0x80);
    return p;
  }

  void add(Becomes one) {
    switch (kind_of(one)) {
      case LETTER: return letter(value_of(one));
      case OWN_WORD: return end_word(), letter(value_of(one));
      case MARK: return mark(one);
      case HANGUL: return hangul(value_of(one));
      case SEPARATOR: return end_word();
      default: return;
    }
  }

  void letter(uint32_t code) {
    settle();
    inside_ = true, base_ = code;
    out_.letter(code);
  }

  void hangul(uint32_t syllable) {
    const uint32_t index = syllable - 0xAC00, trailing = index % 28;
    end_word(), letter(0x1100 + index / (21 * 28)), letter(0x1161 + index / 28 % 21);
    if (trailing) letter(0x11A7 + trailing);
  }

  void mark(Becomes one) {
    if (!inside_) return;
    if (class_of(one) == 0) return letter(value_of(one));
    sorted_ = sorted_ && (marks_.empty() || class_of(marks_.back()) <= class_of(one));
    marks_.push_back(one);
    waiting_ = true;
  }

  void end_word() {
    if (!inside_) return;
    settle();
    inside_ = false;
    out_.finish();
  }

  void settle() {
    if (waiting_) hand_out_marks();
  }

  // Marks wait for others to be sorted among.
  void hand_out_marks() {
    constexpr uint32_t DOT_ABOVE = 0x307, IOTA_BELOW = 0x345, IOTA = 0x3B9;
    if (!sorted_) {
      std::stable_sort(marks_.begin(), marks_.end(),
                       [](Becomes a, Becomes b) { return class_of(a) < class_of(b); });
    }
    for (const Becomes one : marks_) {
      const uint32_t code = value_of(one);
      if (code == DOT_ABOVE && base_ == 'i') continue;  // what case folding leaves of a Turkish İ
      out_.letter(code == IOTA_BELOW ? IOTA : code);
    }
    marks_.clear();
    waiting_ = false, sorted_ = true;
  }

  Out& out_;
  bool inside_ = false;
  uint32_t base_ = 0;           // the latest letter
  std::vector<Becomes> marks_;  // after it
  bool waiting_ = false;        // whether there are such
  bool sorted_ = true;
};

}  // namespace snakelm::dedup
