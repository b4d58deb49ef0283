# Satterthwaite's and Kenward and Roger's tests of models of lme4.json by lmerTest and pbkrtest; writes ddf.json.
#
#     OPENBLAS_NUM_THREADS=1 Rscript tests/reference/ddf.R
#
# The fits are at the theta of lme4.json, not at lmer's optimum. Hypotheses: every coefficient; "all" of them; "some",
# where (i, j) of the matrix (2, p) is (7i + 3j) mod 5 - 2, i and j counted from 0. Columns "<method>_<what>".
# Left out: data of more than 8,000 rows; Kenward and Roger's tests where pbkrtest fails, of more than 700 rows, of ML
# fits and of weighted ones, whose weights pbkrtest ignores. About one minute on one core.

suppressPackageStartupMessages({
  library(lmerTest)
  library(pbkrtest)
})
options(contrasts = c("contr.treatment", "contr.treatment"), warn = -1)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
pattern <- c(commandArgs(TRUE), "")[1]
sets <- jsonlite::fromJSON(file.path(here, "..", "..", "sparselmm", "datasets", "data", "datasets.json"),
                           simplifyDataFrame = FALSE)
models <- jsonlite::fromJSON(file.path(here, "lme4.json"), simplifyVector = FALSE)$models

read_set <- function(name) {
  synthetic <- startsWith(name, "synthetic:")
  folder <- if (synthetic) file.path(here, "data") else file.path(here, "..", "..", "sparselmm", "datasets", "data")
  frame <- read.csv(file.path(folder, paste0(sub("synthetic:", "", name), ".csv.gz")), colClasses = "character",
                    na.strings = "", check.names = FALSE)
  for (column in names(frame)) {
    entry <- sets[[name]]$columns[[column]]
    frame[[column]] <- if (is.null(entry$levels)) type.convert(frame[[column]], as.is = TRUE)
                       else factor(frame[[column]], entry$levels, ordered = entry$ordered)
    if (is.character(frame[[column]]))
      frame[[column]] <- factor(frame[[column]], sort(unique(frame[[column]]), method = "radix"))
  }
  frame
}

fit_model <- function(spec) {
  frame <- read_set(spec$dataset)
  if (!is.null(spec$drop_rows)) frame <- droplevels(frame[(seq_len(nrow(frame)) - 1) %% 7 != 3, ])
  call <- list(as.formula(spec$lme4, env = globalenv()), frame, REML = spec$reml, start = unlist(spec$theta$values),
               control = lmerControl(optimizer = NULL, check.conv.grad = "ignore", check.conv.singular = "ignore",
                                     check.conv.hess = "ignore", check.rankX = "silent.drop.cols",
                                     check.nobs.vs.nRE = "ignore", check.nobs.vs.rankZ = "ignore"))
  if (!is.null(spec$contrasts)) call$contrasts <- spec$contrasts
  if (!is.null(spec$weights)) call$weights <- frame[[spec$weights]]
  if (!is.null(spec$offset)) call$offset <- frame[[spec$offset]]
  do.call(lmerTest::lmer, call)
}

hypotheses <- function(p) list(all = diag(p), some = outer(0:1, seq_len(p) - 1, function(i, j) (7 * i + 3 * j) %% 5 - 2))

kenward_roger <- function(fit, matrices) {
  beta <- fixef(fit)
  V0 <- vcov(fit)
  adjusted <- vcovAdj(fit)
  joint <- lapply(matrices, function(L) {
    L <- L[seq_len(qr(L)$rank), , drop = FALSE]
    test <- KRmodcomp(fit, L)$test
    unlist(test["Ftest", c("stat", "ndf", "ddf")], use.names = FALSE)
  })
  names(joint) <- paste0("kr_", names(joint))
  c(list(kr_cov = unname(as.matrix(adjusted)),
         kr_df = vapply(seq_along(beta), function(i) Lb_ddf(replace(0 * beta, i, 1), V0, adjusted), 0)), joint)
}

record <- function(spec) {
  fit <- fit_model(spec)
  stopifnot(abs(-2 * as.numeric(logLik(fit)) - spec$deviance) < 1e-6 * (1 + abs(spec$deviance)))
  p <- length(fixef(fit))
  out <- list(id = spec$id)
  out$satt_df <- vapply(seq_len(p), function(i) contest1D(fit, replace(numeric(p), i, 1))$df, 0)
  for (name in names(hypotheses(p))) {
    L <- hypotheses(p)[[name]]
    if (p == 1) L <- L[1, , drop = FALSE]
    test <- contestMD(fit, L)
    out[[paste0("satt_", name)]] <- c(test$`F value`, test$NumDF, test$DenDF)
  }
  if (spec$reml && spec$nobs <= 700 && is.null(spec$weights)) {
    L <- lapply(hypotheses(p), function(L) if (p == 1) L[1, , drop = FALSE] else L)
    kr <- tryCatch(kenward_roger(fit, L), error = function(e) message("pbkrtest fails: ", conditionMessage(e)))
    out <- c(out, kr)
  }
  message(spec$id)
  out
}

small <- Filter(function(spec) spec$nobs <= 8000 && grepl(pattern, spec$id), models)
records <- lapply(small, record)
provenance <- list(r = R.version.string, packages = lapply(sapply(c("lme4", "lmerTest", "pbkrtest", "numDeriv"),
  function(p) as.character(packageVersion(p)), simplify = FALSE), identity))
lines <- vapply(records, function(x) as.character(jsonlite::toJSON(x, digits = NA, auto_unbox = FALSE)), "")
writeLines(c(paste0("{\"provenance\":", jsonlite::toJSON(provenance, auto_unbox = TRUE), ",\"models\":["),
             paste0(lines, c(rep(",", length(lines) - 1), "")), "]}"),
           if (nzchar(pattern)) file.path(tempdir(), "ddf.json") else file.path(here, "ddf.json"))
