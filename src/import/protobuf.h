/* Private to src/import: fields of a protobuf message, one after the other. No field is read beyond
 * the end of its message. */
#ifndef HT_IMPORT_PROTOBUF_H
#define HT_IMPORT_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is still to be read of a message; also any run of bytes. */
struct ht_pb {
    const uint8_t *at, *end;
};

enum ht_pb_wire { HT_PB_VARINT = 0, HT_PB_FIXED64 = 1, HT_PB_BYTES = 2, HT_PB_FIXED32 = 5 };

struct ht_pb_field {
    uint32_t number;
    int wire;
    uint64_t value;     /* of a varint or fixed number */
    struct ht_pb bytes; /* of text, packed numbers or a message inside */
};

/* The next field; false at the end, and with *damaged at what is no protobuf. */
bool ht_pb_next(struct ht_pb *message, struct ht_pb_field *field, bool *damaged);

/* A varint off the front; false when there is none. */
bool ht_pb_varint(struct ht_pb *p, uint64_t *value);

static inline size_t ht_pb_size(const struct ht_pb *p)
{
    return (size_t)(p->end - p->at);
}

/* Appends the whole numbers of a repeated field, packed or not, to list[max]; n counts on beyond
 * max. false when they are none. */
bool ht_pb_numbers(const struct ht_pb_field *field, int64_t *list, size_t max, size_t *n);

bool ht_pb_is(const struct ht_pb *text, const char *word);
bool ht_pb_same(const struct ht_pb *a, const struct ht_pb *b);

#endif
