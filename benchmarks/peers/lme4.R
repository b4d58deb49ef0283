# Worker for lme4: the protocol of protocol.py in R.
suppressPackageStartupMessages({library(lme4); library(jsonlite)})

read_columns <- function(directory) {
  meta <- fromJSON(file.path(directory, "columns.json"), simplifyVector = FALSE)
  columns <- lapply(meta$columns, function(entry) {
    file <- file.path(directory, entry$file)
    if (is.null(entry$levels)) return(readBin(file, "double", meta$rows, endian = "little"))
    codes <- readBin(file, "integer", meta$rows, endian = "little")
    structure(codes + 1L, levels = unlist(entry$levels), class = "factor")
  })
  names(columns) <- vapply(meta$columns, `[[`, "", "name")
  as.data.frame(columns)
}

memory_mb <- function(field) {
  if (!file.exists("/proc/self/status")) return(NULL)
  line <- grep(field, readLines("/proc/self/status"), value = TRUE)
  as.numeric(gsub("[^0-9]", "", line)) / 1024
}

versions <- function() list(
  lme4 = as.character(packageVersion("lme4")), Matrix = as.character(packageVersion("Matrix")),
  R = paste(R.version$major, R.version$minor, sep = "."), threads = basename(La_library())
)

fit_once <- function(task, data) {
  formula <- as.formula(task$formula)
  control <- lmerControl(calc.derivs = !isFALSE(task$calc_derivs))
  gc()
  start <- Sys.time()
  fitted <- suppressWarnings(suppressMessages(lmer(formula, data, REML = task$reml, control = control)))
  errors <- sqrt(diag(as.matrix(vcov(fitted))))
  seconds <- as.numeric(Sys.time() - start, units = "secs")
  stopifnot(length(errors) == length(fixef(fitted)))
  note <- unique(c(unlist(fitted@optinfo$conv$lme4$messages), unlist(fitted@optinfo$warnings)))
  list(
    seconds = seconds, deviance = -2 * as.numeric(logLik(fitted)), evaluations = fitted@optinfo$feval,
    note = paste(note, collapse = "; "), peak_mb = memory_mb("VmHWM")
  )
}

input <- file("stdin", "r")
while (length(line <- readLines(input, n = 1L)) > 0L) {
  message <- fromJSON(line, simplifyVector = FALSE)
  answer <- tryCatch({
    if (!is.null(message$formula)) {
      task <- message
      data <- read_columns(task$directory)
      list(versions = versions(), loaded_mb = memory_mb("VmRSS"))
    } else {
      list(result = fit_once(task, data))
    }
  }, error = function(problem) list(error = substr(conditionMessage(problem), 1, 300)))
  cat(toJSON(answer, auto_unbox = TRUE, digits = NA, null = "null"), "\n", sep = "")
  flush(stdout())
}
