/* What tests/kernels uses of Criterion's interface, in one process and without its library, which
 * does not exist for the target (and whose workers would run outside of the emulator). Prints TAP.
 * A failed test ends; the others go on. */
#ifndef HT_TESTS_CROSS_CRITERION_H
#define HT_TESTS_CROSS_CRITERION_H

#include <string.h>

struct cr_test {
    const char *name;
    void (*run)(void);
    struct cr_test *next;
};

void cr_add(struct cr_test *test);
/* The message, a format and its arguments, may be empty. Does not return. */
_Noreturn void cr_fail(const char *file, int line, const char *what, const char *format, ...);

#define Test(suite, test)                                                                          \
    static void suite##_##test(void);                                                              \
    static struct cr_test suite##_##test##_entry = {#suite "::" #test, suite##_##test, NULL};      \
    __attribute__((constructor)) static void suite##_##test##_add(void)                            \
    {                                                                                              \
        cr_add(&suite##_##test##_entry);                                                           \
    }                                                                                              \
    static void suite##_##test(void)

#define cr_check(condition, what, ...)                                                             \
    ((condition) ? (void)0 : cr_fail(__FILE__, __LINE__, what, "" __VA_ARGS__))
#define cr_assert(a, ...)          cr_check(a, #a, __VA_ARGS__)
#define cr_assert_not(a, ...)      cr_check(!(a), "not " #a, __VA_ARGS__)
#define cr_assert_not_null(a, ...) cr_check((a) != NULL, #a " is not NULL", __VA_ARGS__)
#define cr_assert_eq(a, b, ...)    cr_check((a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...)   cr_check((a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...)    cr_check((a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...)   cr_check((a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...)    cr_check((a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...)   cr_check((a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)                                                                \
    cr_check(strcmp(a, b) == 0, #a " is the string " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...)                                                          \
    cr_check(memcmp(a, b, size) == 0, #a " has the bytes of " #b, __VA_ARGS__)

#endif
