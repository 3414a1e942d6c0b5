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

/* With "" after the arguments there is always a format; what follows one is ignored. */
#define cr_assert(...)          cr_true_(__VA_ARGS__, "")
#define cr_assert_not(...)      cr_not_(__VA_ARGS__, "")
#define cr_assert_not_null(...) cr_true_(__VA_ARGS__, "")
#define cr_assert_eq(...)       cr_compare_(==, __VA_ARGS__, "")
#define cr_assert_neq(...)      cr_compare_(!=, __VA_ARGS__, "")
#define cr_assert_lt(...)       cr_compare_(<, __VA_ARGS__, "")
#define cr_assert_leq(...)      cr_compare_(<=, __VA_ARGS__, "")
#define cr_assert_gt(...)       cr_compare_(>, __VA_ARGS__, "")
#define cr_assert_geq(...)      cr_compare_(>=, __VA_ARGS__, "")
#define cr_assert_str_eq(...)   cr_string_(__VA_ARGS__, "")

#define cr_check_(condition, what, ...)                                                            \
    ((condition) ? (void)0 : cr_fail(__FILE__, __LINE__, what, __VA_ARGS__))
#define cr_true_(a, ...) cr_check_(a, #a, __VA_ARGS__)
#define cr_not_(a, ...)  cr_check_(!(a), "not " #a, __VA_ARGS__)
#define cr_compare_(operator, a, b, ...)                                                           \
    cr_check_((a) operator(b), #a " " #operator" " #b, __VA_ARGS__)
#define cr_string_(a, b, ...) cr_check_(strcmp(a, b) == 0, #a " is " #b, __VA_ARGS__)

#endif
