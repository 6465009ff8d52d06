/* Jobs of rows of classes. */

#ifndef ROWS_H
#define ROWS_H

#include "tasks.h"

int evaluate_rows(const Job *job, double *sum, Caller *caller);

#endif
