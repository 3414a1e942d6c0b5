/* Numbers as people read them. Results are small structs, so a call fits in an argument list:
 * printf("%s", ht_human_bytes(n).s). */
#ifndef HT_REPORT_HUMAN_H
#define HT_REPORT_HUMAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ht_human {
    char s[48];
};

/* "0 B", "1023 B", "271.5 KiB", "1.0 MiB". */
struct ht_human ht_human_bytes(uint64_t bytes);

/* "18.1 us", "12.3 ms", "4.0 s", "1 m 23 s", "2 h 05 m", "3 d 04 h". */
struct ht_human ht_human_seconds(double seconds);

/* "335,114". */
struct ht_human ht_human_count(int64_t n);

/* The shortest decimal that reads back as exactly v, always with a point or an exponent ("3.0"), in
 * any locale. v is finite. */
struct ht_human ht_human_exact(double v);

/* One character of UTF-8 text. An invalid byte counts as one character, U+FFFD. */
struct ht_character {
    uint32_t code;
    unsigned bytes; /* read; >= 1 */
    unsigned width; /* columns on a terminal: 0, 1 or 2 */
};

/* The character at s, which is NUL-terminated and not empty. */
struct ht_character ht_utf8_next(const char *s);

/* Columns that s takes on a terminal. */
size_t ht_utf8_width(const char *s);

/* Bytes of the longest prefix of s that takes at most `width` columns. */
size_t ht_utf8_prefix(const char *s, size_t width);

/* True for characters that must not reach a terminal from data: they would move its cursor. */
bool ht_utf8_is_control(uint32_t code);

#endif
