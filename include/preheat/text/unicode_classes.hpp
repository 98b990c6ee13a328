// What letters, numbers and white space are in the split patterns of byte-level tokenizers, whatever
// the age of the Unicode tables in the PCRE2 at hand: what the patterns write as `\p{L}`, `\p{N}` and
// `\s`.
//
// The models' own tokenizers take the letters and numbers of Unicode 16 and, where single digits are
// cut out, the numbers of Unicode 17. PCRE2 10.42 has Unicode 14: what was added since is listed here.
// A PCRE2 with newer tables than Unicode 16 takes its newer letters too. White space is the 25 code
// points of the property White_Space; PCRE2's own `\s` also takes U+180E.
#pragma once
#include <string_view>

namespace preheat::text::detail {

// Parts of a character class, as PCRE2 reads them: [...].
inline constexpr std::string_view letters =
    R"(\p{L})"
    R"(\x{1C89}\x{1C8A}\x{A7CB}-\x{A7CD}\x{A7DA}-\x{A7DC}\x{105C0}-\x{105F3}\x{10D4A}-\x{10D65})"
    R"(\x{10D6F}-\x{10D85}\x{10EC2}-\x{10EC4}\x{1123F}\x{11240}\x{11380}-\x{11389}\x{1138B})"
    R"(\x{1138E}\x{11390}-\x{113B5}\x{113B7}\x{113D1}\x{113D3}\x{11BC0}-\x{11BE0}\x{11F02})"
    R"(\x{11F04}-\x{11F10}\x{11F12}-\x{11F33}\x{1342F}\x{13441}-\x{13446}\x{13460}-\x{143FA})"
    R"(\x{16100}-\x{1611D}\x{16D40}-\x{16D6C}\x{18CFF}\x{1B132}\x{1B155}\x{1DF25}-\x{1DF2A})"
    R"(\x{1E030}-\x{1E06D}\x{1E4D0}-\x{1E4EB}\x{1E5D0}-\x{1E5ED}\x{1E5F0}\x{2B739})"
    R"(\x{2EBF0}-\x{2EE5D}\x{31350}-\x{323AF})";

inline constexpr std::string_view numbers =
    R"(\p{N})"
    R"(\x{10D40}-\x{10D49}\x{116D0}-\x{116E3}\x{11BF0}-\x{11BF9}\x{11F50}-\x{11F59})"
    R"(\x{16130}-\x{16139}\x{16D70}-\x{16D79}\x{1CCF0}-\x{1CCF9}\x{1D2C0}-\x{1D2D3})"
    R"(\x{1E4F0}-\x{1E4F9}\x{1E5F1}-\x{1E5FA})";

inline constexpr std::string_view numbers_since_unicode_16 =
    R"(\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6})";

inline constexpr std::string_view white_space =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F})"
    R"(\x{3000})";

}  // namespace preheat::text::detail
