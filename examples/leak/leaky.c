/* SPDX-License-Identifier: MIT */
/*
 * leaky.c - a Python extension with a leak of the usual kind: the way out after an error does not
 * free what the way out after success frees.
 *
 *     leaky.checksum(text) -> int     ValueError when the text holds a NUL
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

/* A copy with room for the block that the algorithm pads with. */
static char *padded_copy(const char *text, Py_ssize_t length)
{
    char *copy = malloc((size_t)length + 64);
    if (copy != NULL) {
        memcpy(copy, text, (size_t)length);
        memset(copy + length, 0x80, 64);
    }
    return copy;
}

static PyObject *checksum(PyObject *self, PyObject *args)
{
    const char *text;
    Py_ssize_t length;
    (void)self;
    if (!PyArg_ParseTuple(args, "s#", &text, &length))
        return NULL;
    char *copy = padded_copy(text, length);
    if (copy == NULL)
        return PyErr_NoMemory();
    unsigned sum = 0;
    for (Py_ssize_t i = 0; i < length + 64; i++) {
        if (copy[i] == 0) {
            PyErr_SetString(PyExc_ValueError, "the text holds a NUL");
            return NULL; /* the leak */
        }
        sum = sum * 31 + (unsigned char)copy[i];
    }
    free(copy);
    return PyLong_FromUnsignedLong(sum);
}

static PyMethodDef methods[] = {
    {"checksum", checksum, METH_VARARGS, "A number for a text."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "leaky", "Leaks when it fails.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_leaky(void)
{
    return PyModule_Create(&module);
}
