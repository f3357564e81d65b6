export { fromArrays, type ArrayLayer, type Numbers } from './formats/arrays/model.js';
