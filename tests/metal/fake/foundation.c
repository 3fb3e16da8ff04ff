// NSString, NSError, MTLCompileOptions and MTLResidencySetDescriptor, as far as the host uses them.
#include <string.h>

#include "fake/internal.h"

fake_object *fake_string(const char *text)
{
    fake_object *o = fake_new(FAKE_STRING);
    o->text = strdup(text);
    return o;
}

id fake_error(long code, const char *text)
{
    fake_object *o = fake_new(FAKE_ERROR);
    o->text = strdup(text);
    o->code = code;
    return fake_autorelease(o);
}

static id string_with(id c, SEL s, const char *text)
{
    (void)c;
    (void)s;
    if (!text) fake_fail("stringWithUTF8String: of NULL");
    return fake_autorelease(fake_string(text));
}

static const char *string_text(id o, SEL s)
{
    (void)s;
    return fake_check(o, FAKE_STRING, "UTF8String")->text;
}

static id error_description(id o, SEL s)
{
    (void)s;
    return fake_autorelease(fake_string(fake_check(o, FAKE_ERROR, "localizedDescription")->text));
}

static long error_code(id o, SEL s)
{
    (void)s;
    return fake_check(o, FAKE_ERROR, "code")->code;
}

static id options_new(id c, SEL s)
{
    (void)c;
    (void)s;
    fake_object *o = fake_new(FAKE_OPTIONS);
    o->code = 0; // a bit each: the mode is safe, the functions are precise
    return (id)o;
}

static void options_math_mode(id o, SEL s, long mode)
{
    (void)s;
    if (fake_metal()->old) fake_fail("setMathMode: on a system that has none");
    fake_check(o, FAKE_OPTIONS, "setMathMode:")->code |= mode == 0;
}

static void options_functions(id o, SEL s, long functions)
{
    (void)s;
    if (fake_metal()->old) fake_fail("setMathFloatingPointFunctions: on a system that has none");
    fake_check(o, FAKE_OPTIONS, "setMathFloatingPointFunctions:")->code |= functions == 1 ? 2 : 0;
}

static void options_fast_math(id o, SEL s, bool on)
{
    (void)s;
    fake_check(o, FAKE_OPTIONS, "setFastMathEnabled:")->code = on ? 0 : 3;
}

static id descriptor_new(id c, SEL s)
{
    (void)c;
    (void)s;
    return (id)fake_new(FAKE_RESIDENCY_DESCRIPTOR);
}

const fake_method fake_foundation_methods[] = {
    {FAKE_STRING, true, "stringWithUTF8String:", "@@:r*", (fake_function)string_with},
    {FAKE_STRING, false, "UTF8String", "r*@:", (fake_function)string_text},
    {FAKE_ERROR, false, "localizedDescription", "@@:", (fake_function)error_description},
    {FAKE_ERROR, false, "code", "q@:", (fake_function)error_code},
    {FAKE_OPTIONS, true, "new", "@@:", (fake_function)options_new},
    {FAKE_OPTIONS, false, "setMathMode:", "v@:q", (fake_function)options_math_mode},
    {FAKE_OPTIONS, false, "setMathFloatingPointFunctions:", "v@:q",
     (fake_function)options_functions},
    {FAKE_OPTIONS, false, "setFastMathEnabled:", "v@:B", (fake_function)options_fast_math},
    {FAKE_RESIDENCY_DESCRIPTOR, true, "new", "@@:", (fake_function)descriptor_new},
    {0},
};
