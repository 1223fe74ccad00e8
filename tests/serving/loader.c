/* loader MODEL PLAN ANSWERS [REPEATS]: loads a SavedModel as TF Serving does, in C and without
   Python, sends it the requests of PLAN and writes what it gives to ANSWERS. With REPEATS it prints
   the seconds of each of as many runs, a line for each request. c_loader.py writes and reads both
   files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

#define MOST 4096 /* inputs or outputs of a signature, dimensions of a tensor */

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(TF_Status *status, const char *what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

static void read_bytes(FILE *file, void *into, size_t size) {
  if (fread(into, 1, size, file) != size) fail("plan", "it ends too soon");
}

static void write_bytes(FILE *file, const void *from, size_t size) {
  if (fwrite(from, 1, size, file) != size) fail("answers", "they cannot be written");
}

static int32_t read_int(FILE *file) {
  int32_t number;
  read_bytes(file, &number, sizeof number);
  return number;
}

static int64_t read_long(FILE *file) {
  int64_t number;
  read_bytes(file, &number, sizeof number);
  return number;
}

static TF_Output read_output(FILE *file, TF_Graph *graph) {
  char name[1024];
  int32_t size = read_int(file);
  if (size < 0 || size >= (int32_t)sizeof name) fail("plan", "a name is too long");
  read_bytes(file, name, size);
  name[size] = 0;
  TF_Output output = {TF_GraphOperationByName(graph, name), read_int(file)};
  if (output.oper == NULL) fail(name, "no such operation");
  return output;
}

static int64_t count_of(const int64_t *dims, int rank) {
  int64_t count = 1;
  for (int i = 0; i < rank; i++) count *= dims[i];
  return count;
}

static TF_Tensor *read_tensor(FILE *file) {
  TF_DataType type = read_int(file);
  int rank = read_int(file);
  int64_t dims[MOST];
  for (int i = 0; i < rank; i++) dims[i] = read_long(file);
  int64_t count = count_of(dims, rank);
  if (type != TF_STRING) {
    int64_t size = read_long(file);
    TF_Tensor *tensor = TF_AllocateTensor(type, dims, rank, size);
    read_bytes(file, TF_TensorData(tensor), size);
    return tensor;
  }
  TF_Tensor *tensor = TF_AllocateTensor(type, dims, rank, count * sizeof(TF_TString));
  TF_TString *texts = TF_TensorData(tensor);
  for (int64_t i = 0; i < count; i++) {
    int64_t size = read_long(file);
    char *bytes = malloc(size + 1);
    read_bytes(file, bytes, size);
    TF_StringInit(&texts[i]);
    TF_StringCopy(&texts[i], bytes, size);
    free(bytes);
  }
  return tensor;
}

static void write_tensor(FILE *file, TF_Tensor *tensor) {
  int32_t type = TF_TensorType(tensor), rank = TF_NumDims(tensor);
  int64_t dims[MOST];
  write_bytes(file, &type, sizeof type);
  write_bytes(file, &rank, sizeof rank);
  for (int i = 0; i < rank; i++) {
    dims[i] = TF_Dim(tensor, i);
    write_bytes(file, &dims[i], sizeof dims[i]);
  }
  if (type != TF_STRING) {
    int64_t size = TF_TensorByteSize(tensor);
    write_bytes(file, &size, sizeof size);
    write_bytes(file, TF_TensorData(tensor), size);
    return;
  }
  TF_TString *texts = TF_TensorData(tensor);
  for (int64_t i = 0; i < count_of(dims, rank); i++) {
    int64_t size = TF_StringGetSize(&texts[i]);
    write_bytes(file, &size, sizeof size);
    write_bytes(file, TF_StringGetDataPointer(&texts[i]), size);
  }
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc < 4) fail("loader", "MODEL PLAN ANSWERS [REPEATS]");
  int repeats = argc > 4 ? atoi(argv[4]) : 0;
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session =
      TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  check(status, argv[1]);
  FILE *plan = fopen(argv[2], "rb"), *answers = fopen(argv[3], "wb");
  if (plan == NULL || answers == NULL) fail("loader", "PLAN or ANSWERS cannot be opened");
  for (int32_t left = read_int(plan); left > 0; left--) {
    TF_Output inputs[MOST], outputs[MOST];
    TF_Tensor *given[MOST], *found[MOST];
    int32_t num_inputs = read_int(plan);
    if (num_inputs > MOST) fail("plan", "too many inputs");
    for (int i = 0; i < num_inputs; i++) {
      inputs[i] = read_output(plan, graph);
      given[i] = read_tensor(plan);
    }
    int32_t num_outputs = read_int(plan);
    if (num_outputs > MOST) fail("plan", "too many outputs");
    for (int i = 0; i < num_outputs; i++) outputs[i] = read_output(plan, graph);
    for (int run = 0; run <= repeats; run++) {
      double began = now();
      TF_SessionRun(session, NULL, inputs, given, num_inputs, outputs, found, num_outputs, NULL, 0,
                    NULL, status);
      double seconds = now() - began;
      check(status, "request");
      if (run > 0) printf("%.9f ", seconds); /* the first one starts what later ones use */
      for (int i = 0; i < num_outputs; i++) {
        if (run == 0) write_tensor(answers, found[i]);
        TF_DeleteTensor(found[i]);
      }
    }
    if (repeats > 0) printf("\n");
    for (int i = 0; i < num_inputs; i++) TF_DeleteTensor(given[i]);
  }
  fclose(plan);
  if (fclose(answers) != 0) fail("answers", "they cannot be written");
  TF_CloseSession(session, status);
  check(status, "close");
  return 0;
}
