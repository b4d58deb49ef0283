# Profiles the likelihood of some models of models.R with lme4 and writes profile.json: 95 % and 99 % intervals and, for
# `curves`, the points of the profile.
#
#     OPENBLAS_NUM_THREADS=1 Rscript tests/reference/profile.R [pattern of ids, for a trial run]
#
# lme4 optimises the other parameters to its tolerance and interpolates by splines; `delta` below is finer than its
# default. Parameters are in lme4's order: random effects in the order of theta, sigma, fixed effects.

suppressPackageStartupMessages(library(lme4))
options(contrasts = c("contr.treatment", "contr.treatment"), warn = 1)
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
pattern <- c(commandArgs(TRUE), "")[1]

source(file.path(here, "models.R"))
sets <- jsonlite::fromJSON(file.path(here, "..", "..", "sparselmm", "datasets", "data", "datasets.json"),
                           simplifyDataFrame = FALSE)

read_set <- function(name) {
  synthetic <- startsWith(name, "synthetic:")
  folder <- if (synthetic) file.path(here, "data") else file.path(here, "..", "..", "sparselmm", "datasets", "data")
  file <- file.path(folder, paste0(sub("synthetic:", "", name), ".csv.gz"))
  frame <- read.csv(file, colClasses = "character", na.strings = "", check.names = FALSE)
  for (column in names(frame)) {
    entry <- sets[[name]]$columns[[column]]
    frame[[column]] <- if (is.null(entry$levels)) type.convert(frame[[column]], as.is = TRUE)
                       else factor(frame[[column]], entry$levels, ordered = entry$ordered)
    if (is.character(frame[[column]]))
      frame[[column]] <- factor(frame[[column]], sort(unique(frame[[column]]), method = "radix"))
  }
  frame
}

wanted <- c("dyestuff-ml", "dyestuff2-ml", "sleepstudy-slopes-ml", "sleepstudy-double-ml", "sleepstudy-weights-ml",
            "penicillin-ml", "pastes-slash-ml", "machines-slopes-ml", "cake-temp-ml", "cake-treatment-ml",
            "penicillin-unbalanced-reml", "three-crossed-ml", "oats-ml")
limit <- 100  # seconds for a model
curves <- c("dyestuff-ml", "sleepstudy-slopes-ml", "pastes-slash-ml")

records <- list()
for (id in grep(pattern, wanted, value = TRUE)) {
  spec <- models[[id]]
  data <- read_set(spec$dataset)
  if (isTRUE(spec$drop)) data <- data[(seq_len(nrow(data)) - 1) %% 7 != 3, ]
  arguments <- list(as.formula(spec$lme4), data, REML = FALSE,
                    control = lmerControl(optimizer = "bobyqa"))
  if (!is.null(spec$weights)) arguments$weights <- data[[spec$weights]]
  fit <- do.call(lmer, arguments)
  spent <- system.time(
    result <- tryCatch({
      setTimeLimit(elapsed = limit, transient = TRUE)
      suppressWarnings(profile(fit, signames = FALSE, alphamax = 0.005, delta = 0.3))
    }, error = identity)
  )[["elapsed"]]
  if (inherits(result, "error")) {
    records[[id]] <- list(id = jsonlite::unbox(id), error = jsonlite::unbox(conditionMessage(result)))
    next
  }
  names <- levels(result$.par)
  record <- list(id = jsonlite::unbox(id), names = names, seconds = jsonlite::unbox(spent),
                 conf95 = unname(confint(result, level = 0.95)[names, ]),
                 conf99 = unname(confint(result, level = 0.99)[names, ]))
  if (id %in% curves) {
    record$curves <- lapply(setNames(names, names), function(name) {
      part <- result[result$.par == name, ]
      part <- part[abs(part$.zeta) < 2.5, ]
      part <- part[round(seq(1, nrow(part), length.out = min(8, nrow(part)))), ]
      list(value = part[[name]], zeta = part$.zeta)
    })
  }
  records[[id]] <- record
  cat(id, spent, "s\n")
}
if (pattern == "") {
  provenance <- list(R = R.version.string, lme4 = as.character(packageVersion("lme4")))
  lines <- vapply(records, jsonlite::toJSON, "", digits = NA, na = "null")
  provenance <- jsonlite::toJSON(provenance, auto_unbox = TRUE)
  writeLines(c(paste0("{\"provenance\": ", provenance, ","), "\"models\": [", paste(lines, collapse = ",\n"), "]}"),
             file.path(here, "profile.json"))
}
