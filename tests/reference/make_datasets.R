# Exports the data sets of sparselmm.datasets from R packages:
#
#     Rscript tests/reference/make_datasets.R
#
# writes sparselmm/datasets/data/<name>.csv.gz (doubles as the shortest decimals that read back to the
# same double) and datasets.json (levels, types, provenance). The same packages give the same bytes.
# Needs the R packages lme4, nlme, lmerTest, mlmRev, afex (data only) and jsonlite.

here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE)))
target <- file.path(here, "..", "..", "sparselmm", "datasets", "data")
dir.create(target, showWarnings = FALSE, recursive = TRUE)

pinheiro <- "Pinheiro & Bates (2000), Mixed-Effects Models in S and S-PLUS, Springer"
davies <- "Davies & Goldsmith, eds (1972), Statistical Methods in Research and Production, 4th ed., Oliver and Boyd"
devore <- "Devore (2000), Probability and Statistics for Engineering and the Sciences, 5th ed., Duxbury"

sets <- list(
  sleepstudy = list("lme4", "Reaction times of subjects deprived of sleep",
    "Belenky et al. (2003), Journal of Sleep Research 12, 1-12",
    c(Reaction = "average reaction time of the day, ms",
      Days = "day of the experiment; 0 and 1 training, 2 baseline, deprivation from then on",
      Subject = "subject number")),
  Dyestuff = list("lme4", "Yield of dyestuff from six batches of an intermediate product",
    paste0(davies, ", section 6.4"),
    c(Batch = "batch of the intermediate product", Yield = "yield of dyestuff, grams of standard colour")),
  Dyestuff2 = list("lme4", "Constructed data shaped as Dyestuff whose batch variance is estimated as zero",
    "Box & Tiao (1973), Bayesian Inference in Statistical Analysis, Addison-Wesley, section 5.1.2",
    c(Batch = "batch", Yield = "constructed yield, no unit")),
  Penicillin = list("lme4", "Six samples of penicillin assayed on each of 24 plates (crossed factors)",
    paste0(davies, ", section 6.6"),
    c(diameter = "diameter of the zone of inhibition, mm", plate = "assay plate", sample = "penicillin sample")),
  Pastes = list("lme4", "Strength of a chemical paste from casks within delivery batches (nested factors)",
    paste0(davies, ", section 6.5"),
    c(strength = "paste strength, percent", batch = "delivery batch",
      cask = "cask within its batch; labels are used again in every batch",
      sample = "batch and cask together: the sample assayed twice")),
  cake = list("lme4", "Breakage angle of chocolate cakes, three recipes at six temperatures (split plot)",
    "Cook (1938), Master's thesis, Iowa State College; Cochran & Cox (1957), Experimental Designs, 2nd ed., p. 300",
    c(replicate = "replicate within its recipe; labels are used again in every recipe", recipe = "recipe",
      temperature = "baking temperature as an ordered factor, degrees Fahrenheit",
      angle = "angle at which the cake broke, degrees", temp = "baking temperature, degrees Fahrenheit")),
  InstEval = list("lme4", "University lecture evaluations by students at ETH Zurich (crossed factors)",
    "distributed with lme4: Bates, Maechler, Bolker & Walker (2015), Journal of Statistical Software 67(1)",
    c(s = "student", d = "professor or lecturer", studage = "semesters the student has been enrolled",
      lectage = "how many semesters back the lecture took place",
      service = "1 if the lecture was held for another department than the lecturer's own",
      dept = "department of the lecture, random code", y = "rating, 1 poor to 5 very good")),
  Machines = list("nlme", "Productivity of six workers on three brands of machine",
    paste0("Milliken & Johnson (1992), Analysis of Messy Data, vol. I, p. 285; ", pinheiro, ", appendix A.14"),
    c(Worker = "worker", Machine = "brand of the machine",
      score = "overall productivity score, no unit")),
  Orthodont = list("nlme", "Orthodontic distance of 27 children at ages 8 to 14",
    paste0("Potthoff & Roy (1964), Biometrika 51, 313-326; ", pinheiro, ", appendix A.17"),
    c(distance = "distance from the pituitary to the pterygomaxillary fissure, mm", age = "age, years",
      Subject = "child, ordered by average distance within sex", Sex = "sex")),
  Oats = list("nlme", "Split-plot experiment on three varieties of oats and four amounts of nitrogen",
    paste0("Yates (1935), Journal of the Royal Statistical Society Supplement 2, 181-247; ", pinheiro,
           ", appendix A.15"),
    c(Block = "block", Variety = "variety, one per whole plot",
      nitro = "nitrogen, hundredweight per acre",
      yield = "yield, quarter pounds per subplot of 1/80 acre")),
  Rail = list("nlme", "Travel time of ultrasonic waves in six railway rails",
    paste0(devore, ", example 10.10; ", pinheiro, ", appendix A.26"),
    c(Rail = "rail", travel = "travel time minus 36100, ns")),
  ergoStool = list("nlme", "Effort to arise from four types of stool",
    paste0(devore, "; ", pinheiro, ", appendix A.9"),
    c(effort = "effort, Borg scale", Type = "type of stool", Subject = "subject")),
  Pixel = list("nlme", "X-ray pixel intensity of both sides of ten dogs after injection of a contrast",
    paste0(pinheiro, ", appendix A.24"),
    c(Dog = "dog", Side = "side of the dog", day = "days after the injection",
      pixel = "mean pixel intensity, no unit")),
  Oxboys = list("nlme", "Heights of 26 boys in Oxford at nine ages",
    paste0("Goldstein (1987), Multilevel Models in Educational and Social Research, Oxford; ", pinheiro,
           ", appendix A.19"),
    c(Subject = "boy", age = "standardised age, no unit", height = "height, cm",
      Occasion = "occasion, age as a count")),
  ham = list("lmerTest", "Conjoint study of liking of dry cured ham by 81 consumers",
    "Naes, Lengard, Boelling Johansen & Hersleth (2010), Food Quality and Preference 21, 368-378",
    c(Consumer = "consumer", Product = "ham", Informed.liking = "hedonic liking, score",
      Information = "information given about the origin", Gender = "gender of the consumer, code",
      Age = "age of the consumer, years")),
  carrots = list("lmerTest", "Consumer preference for twelve Danish carrots, 103 consumers; holds missing values",
    "Per Bruun Brockhoff, The Royal Veterinary and Agricultural University, Denmark",
    c(Consumer = "consumer", Frequency = "how often carrots are eaten: 1 once a week or more, 5 less than monthly",
      Gender = "1 male, 2 female", Age = "1 under 25, 2 26-40, 3 41-60, 4 over 61 years",
      Homesize = "persons in the household: 1 one or two, 3 three or more", Work = "type of employment, 7 codes",
      Income = "1 under 150000, 2 to 300000, 3 to 500000, 4 above", Preference = "score, 1 to 7",
      Sweetness = "score, 1 to 7", Bitter = "score, 1 to 7", Crisp = "score, 1 to 7",
      sens1 = "first principal component of the panel's sensory scores",
      sens2 = "second principal component of the panel's sensory scores", Product = "carrot")),
  TVbo = list("lmerTest", "Sensory assessment of televisions by eight assessors, fifteen responses",
    "Bang & Olufsen; Kuznetsova, Brockhoff & Christensen (2017), Journal of Statistical Software 82(13)",
    c(Assessor = "assessor", TVset = "television", Repeat = "repetition", Picture = "picture shown",
      sapply(c("Coloursaturation", "Colourbalance", "Noise", "Depth", "Sharpness", "Lightlevel", "Contrast",
               "Sharpnessofmovement", "Flickeringstationary", "Flickeringmovement", "Distortion",
               "Dimglasseffect", "Cutting", "Flossyedges", "Elasticeffect"), function(v) "response, score"))),
  Chem97 = list("mlmRev", "A-level chemistry 1997: 31022 students in 2410 schools in 131 authorities",
    "Fielding, Yang & Goldstein (2003), Statistical Modelling 3, 127-153",
    c(lea = "local education authority", school = "school", score = "point score, 0 to 10 in steps of 2",
      gender = "gender", age = "age minus 222, months", gcsescore = "average GCSE score")),
  Hsb82 = list("mlmRev", "High School and Beyond 1982: mathematics achievement in 160 schools",
    "Raudenbush & Bryk (2002), Hierarchical Linear Models, 2nd ed., Sage, chapter 4",
    c(school = "school", minrty = "member of a minority", sx = "sex",
      ses = "socio-economic score", mAch = "mathematics achievement, score", meanses = "mean ses of the school",
      sector = "sector of the school", cses = "ses minus meanses")),
  ScotsSec = list("mlmRev", "Attainment of 3435 pupils by primary and secondary school (crossed factors)",
    "Paterson (1991), Evaluation and Research in Education 5, 97-121",
    c(verbal = "verbal reasoning score on entry to secondary school", attain = "score attained at age 16",
      primary = "primary school", sex = "sex", social = "social class, low to high",
      second = "secondary school")),
  fhch2010 = list("afex", "Lexical decision and word naming latencies, 45 participants, 600 items (crossed factors)",
    "Freeman, Heathcote, Chalmers & Hockley (2010), Journal of Memory and Language 62, 1-18",
    c(id = "participant", task = "task of the participant", stimulus = "word or nonword",
      density = "neighbourhood density of the item", frequency = "word frequency of the item",
      length = "number of letters", item = "item shown", rt = "response time, s",
      correct = "was the response correct")))

decimals <- function(x) {  # shortest of 15, 16 and 17 digits that reads back to the same double
  out <- sprintf("%.15g", x)
  for (digits in c("%.16g", "%.17g")) {
    bad <- !is.na(x) & as.numeric(out) != x
    out[bad] <- sprintf(digits, x[bad])
  }
  ifelse(is.na(x), NA, out)
}

type_of <- function(x) {
  if (is.factor(x)) return("factor")
  if (is.logical(x)) return("boolean")
  if (is.integer(x) && !anyNA(x)) "integer" else "number"
}

records <- list()
for (name in names(sets)) {
  set <- sets[[name]]
  space <- new.env()
  data(list = name, package = set[[1]], envir = space)
  frame <- as.data.frame(space[[name]])
  meaning <- set[[4]]
  stopifnot(all(names(meaning) %in% names(frame)))
  left_out <- setdiff(names(frame), names(meaning))
  frame <- frame[names(meaning)]
  types <- vapply(frame, type_of, "")
  text <- frame
  for (column in names(frame)) {
    x <- frame[[column]]
    if (is.factor(x)) x <- frame[[column]] <- droplevels(x)
    text[[column]] <- if (is.double(x)) decimals(x) else as.character(x)
  }
  stopifnot(!grepl("[,\"\n]", unlist(text)))
  file <- file.path(target, paste0(name, ".csv.gz"))
  connection <- gzfile(file, "wb", compression = 9)  # R writes no time and no name into the header
  text[is.na(text)] <- ""
  writeLines(c(paste(names(text), collapse = ","), do.call(paste, c(text, sep = ","))), connection, sep = "\n")
  close(connection)
  back <- read.csv(file, colClasses = "character", na.strings = "", check.names = FALSE)
  for (column in names(frame)) {
    x <- frame[[column]]
    y <- back[[column]]
    stopifnot(if (is.numeric(x)) identical(as.numeric(x), as.numeric(y)) else identical(as.character(x), y))
  }
  columns <- lapply(names(frame), function(column) {
    x <- frame[[column]]
    c(list(type = types[[column]], meaning = meaning[[column]]),
      if (is.factor(x)) list(ordered = is.ordered(x), levels = I(levels(x))))
  })
  records[[name]] <- list(
    title = set[[2]], rows = nrow(frame), reference = set[[3]],
    source = sprintf("R package %s %s (%s)", set[[1]], packageVersion(set[[1]]), packageDescription(set[[1]])$License),
    left_out = I(left_out), columns = setNames(columns, names(frame)))
}
lines <- vapply(names(records), function(name) {
  paste0(jsonlite::toJSON(name, auto_unbox = TRUE), ":", jsonlite::toJSON(records[[name]], auto_unbox = TRUE))
}, "")
writeLines(c("{", paste0(lines, c(rep(",", length(lines) - 1), "")), "}"), file.path(target, "datasets.json"))
